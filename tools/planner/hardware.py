"""The GPUs that one rents, by their makers' data sheets."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """name           as a device calls itself, for its price in run/cost.py
    memory_mib     as nvidia-smi reports it
    tflops         bfloat16 on tensor cores, dense, summed up in float32
    bandwidth_gbs  of the memory
    link_gbs       between two GPUs of one machine, each way: NVLink where there is one, else PCIe
    host_gbs       to the host's memory, each way: PCIe x16
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
        """That vLLM reads at once where nothing else is said (vllm/engine/arg_utils.py, LLM_CLASS)."""
        return 16384 if self.memory_mib >= 70 * 1024 and "A100" not in self.name else 8192


# NVIDIA's data sheets: GeForce (Ada and Ampere GA102 white papers), L4, L40S, A10G (as AWS G5 gives it), RTX
# A6000, A100 SXM, H100 SXM and H200 SXM. Where a sheet gives TFLOP/s with sparsity, half of it is taken.
# Links: NVLink 3 has 600 GB/s and NVLink 4 has 900 GB/s, half of it each way; PCIe 4 x16 has 32, PCIe 5 has 64.
GPUS = {
    "rtx3090": Gpu("NVIDIA GeForce RTX 3090", 24576, 71, 936, 32, 32),
    "rtx4090": Gpu("NVIDIA GeForce RTX 4090", 24564, 165, 1008, 32, 32),
    "l4": Gpu("NVIDIA L4", 23034, 121, 300, 32, 32),
    "a10g": Gpu("NVIDIA A10G", 23028, 70, 600, 32, 32),
    "a100-40gb": Gpu("NVIDIA A100-SXM4-40GB", 40960, 312, 1555, 300, 32),
    "a6000": Gpu("NVIDIA RTX A6000", 49140, 155, 768, 32, 32),
    "l40s": Gpu("NVIDIA L40S", 46068, 362, 864, 32, 32),
    "a100-80gb": Gpu("NVIDIA A100-SXM4-80GB", 81920, 312, 2039, 300, 32),
    "h100": Gpu("NVIDIA H100 80GB HBM3", 81559, 989, 3350, 450, 64),
    "h200": Gpu("NVIDIA H200", 143771, 989, 4800, 450, 64),
}
MOST_GPUS = 8  # of one machine


def gpu_named(name: str) -> Gpu:
    """A GPU of the table.

    Raises:
        ValueError: there is none of that name; it says which there are.
    """
    if name not in GPUS:
        raise ValueError(f"GPU={name}: unknown; allowed are {', '.join(GPUS)}")
    return GPUS[name]


def check_count(count: int) -> None:
    """
    Raises:
        ValueError: not a number of GPUs that one machine has.
    """
    if not 1 <= count <= MOST_GPUS:
        raise ValueError(f"N={count}: the GPUs of one machine, 1 to {MOST_GPUS}; several machines are not planned")
