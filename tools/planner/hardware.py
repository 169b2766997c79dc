"""Data sheets of the GPUs that are commonly rented."""

from dataclasses import dataclass


@dataclass(frozen=True)
class GpuSpec:
    """name           the device name, which also selects the price in run/cost.py
    memory_mib     as nvidia-smi reports it
    tflops         dense bfloat16 on tensor cores with float32 accumulation
    bandwidth_gbs  memory bandwidth
    link_gbs       between two GPUs of one machine, each way: NVLink if the GPU has it, otherwise PCIe
    host_gbs       to host memory, each way: PCIe x16
    """

    name: str
    memory_mib: int
    tflops: float
    bandwidth_gbs: float
    link_gbs: float
    host_gbs: float

    @property
    def memory(self) -> int:
        """Bytes."""
        return self.memory_mib * 2**20

    @property
    def vllm_tokens(self) -> int:
        return batched_tokens(self.name, self.memory_mib)


def batched_tokens(name: str, memory_mib: float) -> int:
    """vLLM's default for max_num_batched_tokens on this GPU (vllm/engine/arg_utils.py, LLM_CLASS)."""
    return 16384 if memory_mib >= 70 * 1024 and "A100" not in name else 8192


# From NVIDIA's data sheets: GeForce (Ada and Ampere GA102 white papers), L4, L40S, A10G (as in AWS G5), RTX A6000,
# A100 SXM, H100 SXM and H200 SXM. Where a sheet gives TFLOP/s with sparsity, half of it is used.
# Links: NVLink 3 has 600 GB/s and NVLink 4 has 900 GB/s, half of it each way; PCIe 4 x16 has 32, PCIe 5 has 64.
GPUS = {
    "rtx3090": GpuSpec("NVIDIA GeForce RTX 3090", 24576, 71, 936, 32, 32),
    "rtx4090": GpuSpec("NVIDIA GeForce RTX 4090", 24564, 165, 1008, 32, 32),
    "l4": GpuSpec("NVIDIA L4", 23034, 121, 300, 32, 32),
    "a10g": GpuSpec("NVIDIA A10G", 23028, 70, 600, 32, 32),
    "a100-40gb": GpuSpec("NVIDIA A100-SXM4-40GB", 40960, 312, 1555, 300, 32),
    "a6000": GpuSpec("NVIDIA RTX A6000", 49140, 155, 768, 32, 32),
    "l40s": GpuSpec("NVIDIA L40S", 46068, 362, 864, 32, 32),
    "a100-80gb": GpuSpec("NVIDIA A100-SXM4-80GB", 81920, 312, 2039, 300, 32),
    "h100": GpuSpec("NVIDIA H100 80GB HBM3", 81559, 989, 3350, 450, 64),
    "h200": GpuSpec("NVIDIA H200", 143771, 989, 4800, 450, 64),
}
MAX_GPUS = 8  # per machine


def gpu_named(name: str) -> GpuSpec:
    """Look up a GPU in the table.

    Raises:
        ValueError: the name is unknown.
    """
    if name not in GPUS:
        raise ValueError(f"GPU={name}: unknown; allowed are {', '.join(GPUS)}")
    return GPUS[name]


def gpu_of_device(device: str) -> GpuSpec:
    """Look up a GPU by its device name.

    Raises:
        ValueError: the table has no such GPU.
    """
    for gpu in GPUS.values():
        if gpu.name == device:
            return gpu
    known = ", ".join(gpu.name for gpu in GPUS.values())
    raise ValueError(f"GPU {device} has no data sheet; add it to GPUS in tools/planner/hardware.py, which has {known}")


def check_count(count: int) -> None:
    """
    Raises:
        ValueError: a single machine cannot have this many GPUs.
    """
    if not 1 <= count <= MAX_GPUS:
        raise ValueError(f"N={count}: must be 1 to {MAX_GPUS}, the GPUs of one machine; plans cover one machine only")
