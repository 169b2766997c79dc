"""What a training run needs from this machine, checked right before its first process starts: the weights, room for
them in shared memory, and GPUs whose memory nobody else holds."""

import json
import math
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from conf.sft import TrainingConfig
from conf.workers import RolloutConfig
from workers.download import WEIGHTS, download
from workers.models import pick_device
from workers.nvidia import InstalledGpu, visible_gpus
from workers.placement import Placement, make_placement
from workers.shared_memory import MORE, shared_folder, shared_root
from workers.weights import Transfer

MIB = 2**20
VERSIONS = 2  # of the weights in shared memory: the samplers read one while the actor writes the next


def prepare_machine(cfg: TrainingConfig) -> None:
    """Download the weights unless they are here, and check this machine. Of a cluster, its machines are not checked.

    Raises:
        ValueError: the weights cannot be downloaded, or there is not enough memory.
    """
    weights = download(cfg.model.source, WEIGHTS)
    if cfg.topology.ray_address is not None:
        return
    device, gpus = pick_device(cfg.topology.device), visible_gpus()
    if device == "cuda" and gpus:
        check_gpus(gpus, make_placement(cfg.topology, cfg.rollout, len(gpus)), cfg.rollout)
    elif gpus and cfg.topology.device == "auto":
        print(
            f"warning: nvidia-smi lists {gpus[0].name}, but PyTorch {torch.__version__} finds no GPU, so the run uses "
            "the CPU; make doctor tells why",
            file=sys.stderr,
        )
    transfer, every = Transfer.of(cfg.topology, device), cfg.algorithm.kl.ref_sync_steps
    if transfer is Transfer.SHARED_MEMORY or every:
        why = f"algorithm.kl.ref_sync_steps={every}" if every else f"topology.weight_transfer={transfer}"
        check_shared_memory(Path("outputs", cfg.run), VERSIONS * weights_bytes(weights, cfg.model.dtype), why)


def check_gpus(gpus: Sequence[InstalledGpu], placement: Placement, rollout: RolloutConfig) -> None:
    """Warn of processes that hold memory of the run's GPUs, the first ones of `gpus`.

    Raises:
        ValueError: they leave less than vLLM takes at its start.
    """
    generating = {bundle for engine in placement.rollout for bundle in engine} if rollout.backend == "vllm" else set()
    for bundle, gpu in enumerate(gpus[: placement.num_bundles]):
        free = f"GPU {gpu.index} ({gpu.name}) has {gpu.free_gb:.1f} of {gpu.total_gb:.1f} GB free"
        by = f"held by {', '.join(map(str, gpu.holders)) or 'a process that is not visible here'}"
        wanted = rollout.gpu_memory_utilization * gpu.total_gb
        if bundle in generating and gpu.free_gb < wanted:
            stop = f"kill {' '.join(str(holder.pid) for holder in gpu.holders)}" if gpu.holders else "stop it"
            raise ValueError(
                f"{free}, the rest is {by}; rollout.gpu_memory_utilization={rollout.gpu_memory_utilization} takes "
                f"{wanted:.1f} GB: {stop}, choose another GPU by CUDA_VISIBLE_DEVICES, or lower the setting"
            )
        if gpu.holders:
            print(f"warning: {free}, the rest is {by}", file=sys.stderr)


def weights_bytes(folder: Path, dtype: str) -> int:
    """Bytes of a model's weights in `dtype`, from the headers of its .safetensors files; 0 if there are none.

    Raises:
        ValueError: a file is damaged.
    """
    parameters = 0
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            try:
                header = json.loads(file.read(size) if size < path.stat().st_size else b"")
                tensors = [tensor for name, tensor in header.items() if name != "__metadata__"]
                parameters += sum(math.prod(tensor["shape"]) for tensor in tensors)
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                raise ValueError(f"{path} is no safetensors file, or damaged; download the model again") from error
    return parameters * (4 if dtype == "float32" else 2)


def check_shared_memory(run: Path, needed: int, why: str) -> None:
    """
    run     the folder of the run, whose own folder in shared memory counts as free: the run replaces it
    needed  bytes
    why     the setting for which weights pass through shared memory

    Raises:
        ValueError: shared memory has less.
    """
    own = sum(path.stat().st_size for path in shared_folder(run).rglob("*") if path.is_file())
    free = shutil.disk_usage(shared_root()).free + own
    if free < needed:
        raise ValueError(
            f"{why} passes weights through {shared_root()}, in two versions of {needed / VERSIONS / MIB:,.0f} MB, but "
            f"it has {free / MIB:,.0f} MB free; {MORE.format(gb=max(4, math.ceil(needed / 2**30) + 2))}"
        )
