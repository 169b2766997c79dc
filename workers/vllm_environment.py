"""Environment variables of a vLLM worker. vLLM and the OpenMP runtime read them when they are
loaded, so they are set before the worker's process starts."""

COMMON = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine lives in the Ray actor itself
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
}
CPU = {
    "TORCHDYNAMO_DISABLE": "1",  # else the first call for log-probs compiles a kernel, for minutes
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}


def environment_for(device: str, bundles: str = "", gpu_share: float = 1.0) -> dict[str, str]:
    """bundles: those of the placement group, "0,1", that the ranks of a tensor-parallel engine take, each
    `gpu_share` of its GPU."""
    if device == "cpu":
        return COMMON | CPU
    return COMMON | {"VLLM_RAY_BUNDLE_INDICES": bundles, "VLLM_RAY_PER_WORKER_GPUS": str(gpu_share)}
