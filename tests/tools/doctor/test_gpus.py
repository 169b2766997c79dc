"""GPU cases, from the output of nvidia-smi."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from conf.compose import compose_config
from tests.fake_nvidia_smi import BANNER, GPUS, HOLDER
from tests.tools.doctor.made_facts import NEEDED
from tools.doctor.facts import Torch
from tools.doctor.gpus import (
    WHEELS_CUDA,
    judge_architecture,
    judge_driver,
    judge_fit,
    judge_gpu_memory,
    judge_no_gpu,
    judge_peers,
    judge_topology,
    read_peers,
)
from tools.doctor.software import judge_torch, judge_vllm
from workers.nvidia import Driver, InstalledGpu, read_driver

MATRIX = """\
 \tGPU0\tGPU1\tGPU2\t
 GPU0\tX\tOK\tCNS\t
 GPU1\tOK\tX\tOK\t
 GPU2\tCNS\tOK\tX\t

Legend:

  X    = Self
  OK   = Status Ok
  CNS  = Chipset not supported
  GNS  = GPU not supported
"""
TORCH = Torch("2.13.0+cu130", "13.0", ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120"), 2)


def driver(version="580.95.05", cuda="13.0", free=24210, holders="") -> Driver:
    banner = BANNER.format(driver=version, cuda=cuda)
    gpus = GPUS.format(driver=version, free=free, name="NVIDIA GeForce RTX 4090")
    return read_driver(banner, gpus, holders)


def test_a_driver_that_is_too_old_is_an_error_that_names_the_required_version():
    found = judge_driver(driver("550.54.14", "12.4"), TORCH)
    assert found.level == "error" and "driver 580 or newer" in found.do
    assert found.saw == "550.54.14, CUDA up to 12.4; torch is built for CUDA 13.0"


def test_the_driver_is_compared_with_the_locked_wheels_while_those_for_a_cpu_are_installed():
    found = judge_driver(driver("550.54.14", "12.4"), Torch("2.13.0+cpu", None, (), 0))
    assert found.level == "error" and "install driver 580 or newer" in found.do
    assert found.saw == "550.54.14, CUDA up to 12.4; the locked torch is built for CUDA 13.0"
    locked = re.search(r"(?m)^cuda-toolkit==(\d+\.\d+)\.", Path("tools/install/requirements.txt").read_text())
    assert locked and locked[1] == WHEELS_CUDA


def test_an_older_driver_of_the_same_major_cuda_version_is_a_warning():
    assert judge_driver(driver(), TORCH).level == "ok"
    assert judge_driver(driver("610.57.04", "13.3"), TORCH).level == "ok"
    assert judge_driver(driver(), replace(TORCH, cuda="13.2")).level == "warning"


@pytest.mark.parametrize(
    ("capability", "dtype", "level"),
    [
        ((8, 9), "bfloat16", "ok"),  # binaries for 8.6 run on 8.9
        ((9, 0), "bfloat16", "ok"),
        ((12, 1), "bfloat16", "ok"),
        ((13, 0), "bfloat16", "ok"),  # compute_120 is compiled for newer GPUs
        ((11, 0), "bfloat16", "error"),  # 10.0 is another major version, and 12.0 is newer
        ((7, 5), "bfloat16", "error"),  # has kernels, but no bfloat16
        ((7, 5), "float32", "ok"),
        ((7, 0), "float32", "error"),
    ],
)
def test_kernels_run_on_their_major_version_and_bfloat16_needs_ampere(capability, dtype, level):
    gpu = InstalledGpu(0, "a GPU", 24.0, 23.0, capability)
    assert judge_architecture(gpu, TORCH, dtype).level == level


def test_processes_that_hold_memory_are_named_with_the_command_that_stops_them():
    xorg = "GPU-5a1c9e2e-0a3f-7c46-9f7e-6f6b8a0a5f10, 4243, [N/A], /usr/bin/Xorg"
    holders = f"{HOLDER}\n{xorg}"
    held = driver(free=4000, holders=holders).gpus[0]
    vllm = 0.4 * 24564 / 1024
    found = judge_gpu_memory(held, vllm)
    assert found.level == "error" and "vLLM needs 9.6 GB" in found.saw and "(4242) 20.0 GB" in found.saw
    assert found.do == "nvidia-smi -i 0; kill 4242 4243"
    assert judge_gpu_memory(driver(free=20000, holders=holders).gpus[0], vllm).level == "warning"
    unseen = judge_gpu_memory(driver(free=20000).gpus[0], vllm)
    assert unseen.level == "warning" and "a process that is not visible here" in unseen.saw
    assert judge_gpu_memory(driver().gpus[0], vllm).level == "ok"


def test_the_planner_s_verdict_decides_the_fit():
    assert judge_fit(NEEDED).saw == "GiB per GPU: training 60.0, generating 55.0 of 76.0 (calculated)"
    found = judge_fit(replace(NEEDED, problem="training needs 83.7 GiB of 76.0"))
    assert found.level == "error" and found.saw == "does not fit: training needs 83.7 GiB of 76.0"


def test_a_topology_that_cannot_divide_the_gpus_is_an_error():
    split = compose_config(["topology=split"])
    assert judge_topology(split, 2).saw == "split: 1 actor ranks, 1 rollout replicas"
    assert judge_topology(split, 1).level == "error" and "do not fit on 1 GPU(s)" in judge_topology(split, 1).saw
    three = judge_topology(compose_config(["topology=colocated"]), 3)
    assert three.level == "error" and "3 actor ranks" in three.saw
    assert judge_topology(compose_config(["topology=multi_node"]), 1).level == "ok"


def test_pairs_without_peer_access_are_named_once():
    assert read_peers(MATRIX) == ("GPU0-GPU2 CNS",)
    assert judge_peers(read_peers(MATRIX)).level == "warning" and judge_peers(()).level == "ok"


def test_no_gpu_is_fine_for_the_tiny_model_and_an_error_for_a_large_one():
    tiny, large = compose_config([]), compose_config(["model=qwen-3b"])
    small = replace(NEEDED, training_state=0.01)
    assert judge_no_gpu("none", tiny, small).level == "ok"
    assert judge_no_gpu("none", large, NEEDED).level == "error"
    assert judge_no_gpu("none", compose_config(["topology.device=cuda"]), small).level == "error"


@pytest.mark.parametrize(
    ("message", "do"),
    [
        ("No devices were found", "docker run --gpus all"),
        ("Failed to initialize NVML: Driver/library version mismatch", "reboot"),
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", "modprobe nvidia"),
        ("Failed to initialize NVML: Unknown Error", "start the container again"),
        ("something new", "docker run --gpus all"),
    ],
)
def test_an_nvidia_smi_that_lists_no_gpu_is_a_warning_or_an_error_with_the_repair(message, do):
    why, small = f"nvidia-smi failed: {message}", replace(NEEDED, training_state=0.01)
    found = judge_no_gpu(why, compose_config([]), small)
    assert found.level == "warning" and found.saw == f"{why}; the run uses the CPU" and do in found.do
    for cfg, needed in ((compose_config(["topology.device=cuda"]), small), (compose_config(["model=qwen-3b"]), NEEDED)):
        found = judge_no_gpu(why, cfg, needed)
        assert found.level == "error" and do in found.do


def test_builds_of_torch_and_vllm_for_another_device_are_errors():
    cpu = Torch("2.13.0+cpu", None, (), 0)
    assert judge_torch(cpu, driver(), "auto").level == "error"
    assert judge_torch(cpu, None, "auto").level == "ok" and judge_torch(cpu, None, "cuda").level == "error"
    assert judge_torch(replace(TORCH, devices=0), driver(), "auto").level == "error"
    assert judge_torch(TORCH, driver(), "auto").level == "ok"
    assert judge_vllm("0.32.0 for cpu", "vllm", on_gpu=True).level == "error"
    assert judge_vllm("0.32.0 for cuda", "vllm", on_gpu=True).level == "ok"
