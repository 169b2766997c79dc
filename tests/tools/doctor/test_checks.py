"""Software, host, network and cluster, by made facts."""

import json
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from conf.compose import compose_config
from conf.trackers import TrackerConfig
from tools.doctor.cluster import judge_clocks, judge_versions
from tools.doctor.facts import Cpu, Hub, Leftovers, Memory, Node, Packages, Reply, Source, Space, Torch, Unknown
from tools.doctor.findings import Finding, check
from tools.doctor.machine import (
    judge_cpu,
    judge_leftovers,
    judge_memory,
    judge_open_files,
    judge_outputs,
    judge_rendezvous,
    judge_shared_memory,
)
from tools.doctor.needs import Needs, needs_of
from tools.doctor.network import judge_clock, judge_hub_cache, judge_source, judge_wandb
from tools.doctor.probes import known, machine, model, output_of, software, within
from tools.doctor.probes.network import sources_of
from tools.doctor.software import judge_packages, judge_python, judge_torch, judge_vllm
from workers.weight_sync import SHARED_MEMORY, shared_folder

NEEDS = Needs(weights=5.7, trainer=46.0, reference=5.7, shared=11.5, checkpoints=120.7, host=27.8)
GATED = Source("model", "meta-llama/Llama-3.2-1B", "hub")
HUB = Hub(False, False, (GATED,), {GATED.name: Reply(200, True, 1.0)})
SHM = Space("/dev/shm", 64.0, 64.0, True)
HERE = Node("here", "3.11.7", "2.60.0", "2.13.0", 0.0)


def test_a_fact_that_can_t_be_had_makes_a_check_that_says_why():
    name, found = check("memory", judge_memory, Unknown("there is no nvidia-smi here"), NEEDS)
    assert (name, found) == ("memory", Finding("skipped", "can't be checked: there is no nvidia-smi here"))
    assert known(lambda: output_of(["no-such-tool"], 1)) == Unknown("there is no no-such-tool here")
    failed = known(lambda: output_of([sys.executable, "-c", "raise SystemExit('broken')"], 20))
    assert isinstance(failed, Unknown) and failed.why.endswith("failed: broken")
    slow = known(lambda: within(0.05, lambda: time.sleep(1)))
    assert slow == Unknown("no answer within 0 s", timed_out=True)


@pytest.mark.parametrize(("version", "level"), [((3, 10, 4), "error"), ((3, 11, 0), "ok"), ((3, 15, 0), "error")])
def test_python_is_one_that_is_served(version, level):
    assert judge_python(version).level == level


def test_packages_that_are_not_the_lock_s_are_named(tmp_path):
    lock = tmp_path / "requirements.txt"
    lock.write_text(
        "# made by uv\nPyYAML==0.1 \\\n    --hash=sha256:ab\nnot-there==1.0\nwin==2 ; sys_platform == 'win32'\n"
    )
    found = software.packages(lock)
    assert found.count == 2 and found.wrong[1] == "not-there is missing, locked 1.0"
    assert found.wrong[0].startswith("PyYAML ") and found.wrong[0].endswith(", locked 0.1")
    assert judge_packages(found).level == "warning"
    assert judge_packages(Packages("requirements.txt", 200, ())).level == "ok"


def test_a_library_that_breaks_is_an_error_and_one_that_is_slow_a_warning():
    assert judge_torch(Unknown("libcudart.so.13: cannot open"), None, "auto").level == "error"
    assert judge_vllm(Unknown("no answer within 60 s", timed_out=True), "vllm", False).level == "warning"
    assert judge_vllm(Unknown("undefined symbol"), "transformers", False).level == "warning"


def test_shared_memory_of_docker_s_64_mb_is_too_small_for_weights():
    docker = judge_shared_memory(replace(SHM, total_gb=0.0625, free_gb=0.0625), NEEDS)
    assert docker.level == "error" and "--shm-size=25g" in docker.do
    # 11.5 for two versions of the weights, and 1 for Ray
    assert judge_shared_memory(replace(SHM, free_gb=12.0), NEEDS).level == "warning"
    assert judge_shared_memory(SHM, NEEDS).level == "ok"


def test_the_disk_must_hold_the_checkpoints():
    disk = Space("outputs", 500.0, 100.0, True)
    assert judge_outputs(disk, NEEDS, 2).level == "error"
    assert judge_outputs(replace(disk, free_gb=123.0), NEEDS, 2).level == "ok"
    assert judge_outputs(replace(disk, free_gb=123.0, writable=False), NEEDS, 2).level == "error"


def test_what_a_run_needs_by_hand():
    # a GiB of parameters: bfloat16 2, float32 with two moments 16, three checkpoints of 2 + 12
    cfg = compose_config(["model=qwen-3b"])
    needs = needs_of(cfg, 2**30, on_gpu=True)
    assert (needs.weights, needs.trainer, needs.reference, needs.shared, needs.checkpoints) == (2, 16, 2, 4, 42)
    cfg = compose_config(["model=qwen-3b", "model.lora.rank=100", "algorithm.optimizer.name=adamw_8bit"])
    needs = needs_of(cfg, 2**30, on_gpu=True)
    # an adapter of a tenth: 2 for the base, 0.1 * (4 + 4 + 2)
    assert needs.trainer == pytest.approx(3.0) and needs.reference == 0
    assert needs.checkpoints == pytest.approx(3 * (2 + 0.1 * 6))


def test_memory_is_what_the_container_leaves(tmp_path):
    for name, text in (("max", "8589934592"), ("current", "5368709120"), ("stat", "anon 1\ninactive_file 1073741824")):
        (tmp_path / f"memory.{name}").write_text(text)
    assert machine.cgroup_memory(tmp_path) == (8 * 2**30, 4 * 2**30)
    (tmp_path / "memory.max").write_text("max")
    assert machine.cgroup_memory(tmp_path) == (None, 0)
    assert judge_memory(Memory(64.0, 4.0, 8.0), NEEDS).level == "error"
    assert judge_memory(Memory(64.0, 25.0, None), NEEDS).level == "warning"
    assert judge_memory(Memory(64.0, 60.0, None), NEEDS).level == "ok"


def test_limits_and_kernels_of_the_host():
    assert judge_open_files(1024).level == "warning" and judge_open_files(65536).level == "ok"
    assert judge_cpu(Cpu("x86_64", 8, frozenset({"avx"})), "float32").level == "error"
    assert judge_cpu(Cpu("x86_64", 8, frozenset({"avx2"})), "bfloat16").level == "warning"
    assert judge_cpu(Cpu("x86_64", 8, frozenset({"avx2"})), "float32").level == "ok"


def test_what_dead_runs_left_is_told_from_what_is_in_use():
    left = Leftovers((77,), ("/dev/shm/ahazero-0123456789ab",), a_run_goes_on=False)
    found = judge_leftovers(left, joins_cluster=False)
    assert found.level == "warning" and "kill 77" in found.do and "rm -r /dev/shm/ahazero-0123456789ab" in found.do
    assert judge_leftovers(replace(left, a_run_goes_on=True, ray_pids=()), False).level == "ok"
    assert judge_leftovers(replace(left, folders=()), joins_cluster=True).level == "ok"
    assert judge_leftovers(Leftovers((), (), False), False).level == "ok"


def test_the_folders_that_are_looked_for_are_those_of_the_weights():
    assert machine.SHARED_MEMORY == SHARED_MEMORY
    assert shared_folder(Path("outputs/run")).match(machine.WEIGHTS)


def test_a_port_that_is_taken_is_seen(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv("MASTER_PORT", str(taken.getsockname()[1]))
        assert judge_rendezvous(machine.rendezvous()).level == "error"
    assert judge_rendezvous(machine.rendezvous()).level == "ok"


def test_a_gated_model_needs_a_token():
    found = judge_source(GATED, HUB)
    assert found.level == "error" and "there is no token" in found.saw and found.do.startswith("export HF_TOKEN=")
    assert judge_source(GATED, replace(HUB, has_token=True)).level == "ok"
    refused = replace(HUB, has_token=True, replies={GATED.name: Reply(403, False, None)})
    assert "the token is not let in" in judge_source(GATED, refused).saw


def test_what_is_here_needs_no_hub_and_what_is_not_needs_one():
    offline = replace(HUB, offline=True, replies={})
    assert "HF_HUB_OFFLINE is set" in judge_source(GATED, offline).saw
    assert judge_source(replace(GATED, place="cache"), offline).level == "ok"
    unreachable = replace(HUB, replies={GATED.name: Unknown("Name or service not known")})
    assert "can't be reached: Name or service not known" in judge_source(GATED, unreachable).saw
    assert judge_source(GATED, replace(HUB, replies={GATED.name: Reply(404, False, None)})).level == "error"
    assert judge_source(GATED, replace(HUB, replies={GATED.name: Reply(503, False, None)})).level == "warning"
    assert judge_hub_cache(Space("/cache", 10, 5, True), HUB, 5.7).level == "error"
    assert judge_hub_cache(Space("/cache", 10, 5, True), replace(HUB, sources=()), 5.7).level == "ok"


def test_the_clock_is_held_against_the_hub_s():
    assert judge_clock(HUB).level == "ok"
    behind = judge_clock(replace(HUB, replies={GATED.name: Reply(200, False, -300.0)}))
    assert behind.level == "warning" and behind.saw == "300 s behind the Hub's"
    assert judge_clock(replace(HUB, offline=True)).level == "skipped"
    assert judge_clock(replace(HUB, replies={GATED.name: Unknown("no network")})).level == "skipped"


def test_wandb_online_needs_an_account():
    assert judge_wandb(False, TrackerConfig(mode="online")).level == "error"
    assert judge_wandb(False, TrackerConfig()).level == "warning" and judge_wandb(True, TrackerConfig()).level == "ok"


def test_what_a_run_loads_is_known_from_its_settings():
    mixed = compose_config(["env=mixed", "+env@env.parts.gsm8k=gsm8k", "+env.weights.gsm8k=1", "model=qwen-0.5b"])
    assert {s.name: s.kind for s in sources_of(mixed)} == {"Qwen/Qwen2.5-0.5B": "model", "openai/gsm8k": "dataset"}
    assert [s.place for s in sources_of(compose_config([]))] == ["disk"]
    judged = compose_config(["evaluation.judge.model=Qwen/Qwen2.5-7B-Instruct"])
    assert sources_of(judged)[1].name == "Qwen/Qwen2.5-7B-Instruct"


def test_the_size_of_a_model_is_that_of_its_files_or_of_its_name(tmp_path):
    header = json.dumps({"__metadata__": {}, "a": {"shape": [3, 4]}, "b": {"shape": [5]}}).encode()
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    assert model.parameters(str(tmp_path)) == 17
    assert model.parameters("nobody/Qwen2.5-1.5B-Instruct") == 1_500_000_000
    assert model.parameters("nobody/SmolLM2-135M") == 135_000_000
    with pytest.raises(ValueError, match="neither the files nor the name of nobody/gpt tell its size"):
        model.parameters("nobody/gpt")


def test_a_node_with_another_ray_is_an_error_and_with_another_clock_a_warning():
    nodes = (replace(HERE, address="10.0.0.1"), replace(HERE, address="10.0.0.2", ray="2.59.0", seconds_ahead=90.0))
    found = judge_versions(nodes, HERE)
    assert found.level == "error" and found.saw == "10.0.0.2 has Ray 2.59.0, here it is 2.60.0"
    assert judge_versions(nodes[:1], HERE).level == "ok"
    assert judge_clocks(nodes).saw == "clocks differ from this one: 10.0.0.2 by +90 s"
    assert judge_clocks(nodes[:1]).level == "ok"


def test_torch_for_the_cpu_where_the_cpu_is_asked_for_is_fine():
    assert judge_torch(Torch("2.13.0+cu130", "13.0", (), 0), None, "cpu").level == "ok"
