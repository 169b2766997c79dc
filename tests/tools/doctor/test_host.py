import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil

from tests.tools.doctor.made_facts import NEEDED
from tools.doctor import host
from tools.doctor.facts import Cpu, DiskSpace, HostMemory, Leftovers
from tools.doctor.host import (
    judge_cpu,
    judge_leftovers,
    judge_memory,
    judge_obstacle,
    judge_open_files,
    judge_outputs,
    judge_shared_memory,
)
from workers import shared_memory
from workers.machine import Obstacle

SHM = DiskSpace("/dev/shm", 64.0, 64.0, True)


def test_docker_s_default_of_64_mb_shared_memory_is_too_small_for_the_weights():
    docker = judge_shared_memory(replace(SHM, total_gb=0.0625, free_gb=0.0625), NEEDED)
    assert docker.level == "error" and "--shm-size=25g" in docker.do
    # 11.5 for two versions of the weights, and 1 for Ray
    assert judge_shared_memory(replace(SHM, free_gb=12.0), NEEDED).level == "warning"
    assert judge_shared_memory(SHM, NEEDED).level == "ok"
    read_only = judge_shared_memory(replace(SHM, writable=False), NEEDED)
    assert read_only.level == "error" and "not writable" in read_only.saw


def test_the_disk_must_hold_the_checkpoints():
    disk = DiskSpace("outputs", 500.0, 100.0, True)
    assert judge_outputs(disk, NEEDED, 2).level == "error"
    assert judge_outputs(replace(disk, free_gb=123.0), NEEDED, 2).level == "ok"
    assert judge_outputs(replace(disk, free_gb=123.0, writable=False), NEEDED, 2).level == "error"


def test_available_memory_is_limited_by_the_container(tmp_path):
    for name, text in (("max", "8589934592"), ("current", "5368709120"), ("stat", "anon 1\ninactive_file 1073741824")):
        (tmp_path / f"memory.{name}").write_text(text)
    assert host.cgroup_memory(tmp_path) == (8 * 2**30, 4 * 2**30)
    (tmp_path / "memory.max").write_text("max")
    assert host.cgroup_memory(tmp_path) == (None, 0)
    assert judge_memory(HostMemory(64.0, 4.0, 8.0), NEEDED).level == "error"
    assert judge_memory(HostMemory(64.0, 25.0, None), NEEDED).level == "warning"
    assert judge_memory(HostMemory(64.0, 60.0, None), NEEDED).level == "ok"


def test_limits_and_cpu_kernels():
    assert [judge_open_files(limit).level for limit in (256, 2048, 65536)] == ["error", "warning", "ok"]
    assert judge_cpu(Cpu("x86_64", 8, frozenset({"avx"})), "float32").level == "error"
    assert judge_cpu(Cpu("x86_64", 8, frozenset({"avx2"})), "bfloat16").level == "warning"
    assert judge_cpu(Cpu("x86_64", 8, frozenset({"avx2"})), "float32").level == "ok"
    assert judge_cpu(Cpu("x86_64", 8, frozenset({"avx2", "avx512f"})), "float32").saw == "8 cores, AVX512"
    found = judge_cpu(Cpu("x86_64", 8, frozenset({"avx2", "avx512f", "avx512_bf16"})), "float32")
    assert found.level == "ok" and "with bfloat16 at up to twice the speed" in found.saw


def test_leftovers_of_crashed_runs_are_distinguished_from_what_is_in_use():
    left = Leftovers((77,), ("/dev/shm/ahazero-0123456789ab",), run_in_progress=False)
    found = judge_leftovers(left, joins_cluster=False)
    assert found.level == "warning" and "kill 77" in found.do and "rm -r /dev/shm/ahazero-0123456789ab" in found.do
    beside = judge_leftovers(replace(left, run_in_progress=True, ray_pids=()), joins_cluster=False)
    assert beside.level == "warning" and beside.do == "rm -r /dev/shm/ahazero-0123456789ab"
    assert judge_leftovers(replace(left, folders=()), joins_cluster=True).level == "ok"
    assert judge_leftovers(Leftovers((), (), False), False).level == "ok"
    assert judge_leftovers(Leftovers((), (), True), False).saw == "another run is in progress here"


def test_leftover_folders_of_runs_are_found(tmp_path, monkeypatch):
    for module in (host, shared_memory):
        monkeypatch.setattr(module, "SHARED_MEMORY", tmp_path)
    shared_memory.shared_folder(Path("outputs/run")).mkdir()
    (tmp_path / "of-another-program").mkdir()
    found = host.leftovers()
    assert found.folders == (str(shared_memory.shared_folder(Path("outputs/run"))),) and not found.run_in_progress


HOLD = """
import sys
from pathlib import Path
from run.lock import lock
held = lock(Path(sys.argv[1]), "")
print("locked", flush=True)
sys.stdin.read()
"""


def test_a_folder_that_a_live_process_locks_is_in_use_whatever_started_it(tmp_path, monkeypatch, request):
    monkeypatch.setattr(host, "SHARED_MEMORY", tmp_path)
    used, left = tmp_path / "ahazero-0", tmp_path / "ahazero-1"
    left.mkdir()
    command = [sys.executable, "-c", HOLD, str(used)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=request.config.rootpath, **pipes) as process:
        assert process.stdout.readline() == b"locked\n"
        found = host.leftovers()
        assert found.folders == (str(left),) and found.run_in_progress
        assert host._is_run(psutil.Process(process.pid)) and not host._is_run(psutil.Process())
        process.stdin.close()
    assert host.leftovers().folders == (str(used), str(left))


def test_ray_of_other_users_is_no_leftover(monkeypatch):
    def denied(self):
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil.Process, "parents", denied)
    assert not host._is_orphan(psutil.Process())


def test_ray_below_a_process_1_that_is_no_run_is_left_over(monkeypatch):
    class Init:
        pid = 1

        def open_files(self):
            raise psutil.AccessDenied  # it belongs to root

    monkeypatch.setattr(psutil.Process, "parents", lambda self: [Init()])
    assert host._is_orphan(psutil.Process())


def test_what_a_run_refuses_is_an_error_of_the_doctor():
    assert judge_obstacle(None).level == "ok"
    found = judge_obstacle(Obstacle("TMPDIR=/tmp is full", "free space there"))
    assert (found.level, found.saw, found.do) == ("error", "TMPDIR=/tmp is full", "free space there")
