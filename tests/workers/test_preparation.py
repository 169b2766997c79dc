"""What a start checks on a machine with GPUs, with the output of nvidia-smi."""

from collections import namedtuple
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from conf.compose import compose_config
from conf.workers import RolloutConfig
from tests.fake_nvidia_smi import HOLDER, install, two_gpus
from workers import preparation, shared_memory
from workers.nvidia import visible_gpus
from workers.placement import Placement
from workers.preparation import check_gpus, check_shared_memory, prepare_machine, weights_bytes

Usage = namedtuple("Usage", "free")
TRIO = Placement(actor=(0,), rollout=((0,),))
SPLIT = Placement(actor=(0,), rollout=((1,),))


@pytest.fixture
def gpus(tmp_path, monkeypatch):
    """The GPUs that nvidia-smi reports with these settings."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def listed(**settings):
        monkeypatch.setenv("PATH", install(tmp_path / "bin", two_gpus(**settings)))
        return visible_gpus()

    return listed


def test_a_process_that_leaves_too_little_for_vllm_is_named_with_its_memory(gpus):
    with pytest.raises(ValueError) as refused:
        check_gpus(gpus(free=4000, holders=HOLDER), TRIO, RolloutConfig())
    assert str(refused.value) == (
        "GPU 0 (NVIDIA GeForce RTX 4090) has 3.9 of 24.0 GB free, the rest is held by python3 (4242) 20.0 GB; "
        "rollout.gpu_memory_utilization=0.45 takes 10.8 GB: kill 4242, choose another GPU by CUDA_VISIBLE_DEVICES, or "
        "lower the setting"
    )


def test_memory_of_a_process_in_another_container_is_missed_too(gpus):
    with pytest.raises(ValueError, match="held by a process that is not visible here"):
        check_gpus(gpus(free=4000), TRIO, RolloutConfig())


def test_a_process_on_a_gpu_with_room_or_without_vllm_is_a_warning(gpus, capsys):
    found = gpus(free=4000, holders=HOLDER)
    check_gpus(found, SPLIT, RolloutConfig())
    check_gpus(found, TRIO, RolloutConfig(gpu_memory_utilization=0.1))
    check_gpus(found, TRIO, RolloutConfig(backend="transformers"))
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == 3 and set(warnings) == {
        "warning: GPU 0 (NVIDIA GeForce RTX 4090) has 3.9 of 24.0 GB free, the rest is held by python3 (4242) 20.0 GB"
    }


def test_gpus_that_the_run_does_not_use_are_not_checked(gpus, capsys):
    check_gpus(gpus(free=4000, holders=HOLDER)[1:], TRIO, RolloutConfig())
    assert capsys.readouterr().err == ""


def test_a_gpu_that_pytorch_does_not_find_is_a_warning_of_a_run_on_the_cpu(gpus, capsys, monkeypatch):
    gpus(name="NVIDIA H100 80GB HBM3")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    prepare_machine(compose_config([]))
    assert "nvidia-smi lists NVIDIA H100 80GB HBM3, but PyTorch" in capsys.readouterr().err
    prepare_machine(compose_config(["topology=cpu"]))
    assert capsys.readouterr().err == ""


def test_the_size_of_the_weights_is_read_from_their_files(tmp_path):
    save_file({"a": torch.zeros(3, 5), "b": torch.zeros(7)}, tmp_path / "model.safetensors", {"format": "pt"})
    assert weights_bytes(tmp_path, "float32") == 4 * 22 and weights_bytes(tmp_path, "bfloat16") == 2 * 22
    assert weights_bytes(tmp_path / "missing", "float32") == 0
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 999\n"
    for damage in (b"", pointer, b"\x02" + 7 * b"\0" + b"[]"):
        (tmp_path / "model.safetensors").write_bytes(damage)
        with pytest.raises(ValueError, match="model.safetensors is no safetensors file"):
            weights_bytes(tmp_path, "float32")


def test_docker_s_64_mb_of_shared_memory_are_found_before_the_start(tmp_path, monkeypatch):
    monkeypatch.setattr(shared_memory, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(preparation.shutil, "disk_usage", lambda path: Usage(64 * 2**20))
    with pytest.raises(ValueError) as refused:
        check_shared_memory(Path("outputs/run"), 2 * 942 * 2**20, "topology.weight_transfer=shm")
    assert str(refused.value) == (
        f"topology.weight_transfer=shm passes weights through {tmp_path}, in two versions of 942 MB, but it has 64 MB "
        "free; sudo mount -o remount,size=4G /dev/shm; in a container: docker run --shm-size=4g"
    )
    check_shared_memory(Path("outputs/run"), 60 * 2**20, "topology.weight_transfer=shm")


def test_what_a_crashed_start_of_the_same_run_left_in_shared_memory_counts_as_free(tmp_path, monkeypatch):
    monkeypatch.setattr(shared_memory, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(preparation.shutil, "disk_usage", lambda path: Usage(0))
    left = shared_memory.shared_folder(Path("outputs/run")) / "weights_000001" / "00000.safetensors"
    left.parent.mkdir(parents=True)
    left.write_bytes(bytes(1000))
    check_shared_memory(Path("outputs/run"), 1000, "topology.weight_transfer=shm")
    with pytest.raises(ValueError, match="0 MB free"):
        check_shared_memory(Path("outputs/other"), 1000, "topology.weight_transfer=shm")


def test_a_run_whose_weights_pass_through_shared_memory_is_checked_before_it_starts(monkeypatch):
    monkeypatch.setattr(preparation.shutil, "disk_usage", lambda path: Usage(2**20))
    with pytest.raises(ValueError, match="topology.weight_transfer=shm passes weights through"):
        prepare_machine(compose_config(["topology=cpu", "run=no-such-run"]))
