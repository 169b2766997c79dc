"""Settings of the workers: the model, generation, and the processes that hold them."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import MISSING

from grpo.settings import above, at_least, at_most, one_of


@dataclass
class LoraConfig:
    """Low-rank adapters on all linear layers (LoRA, arXiv 2106.09685).

    rank   rank of the adapters; 0 trains all weights of the model instead
    alpha  the adapters' output is scaled by alpha / rank; above 0
    """

    rank: int = 0
    alpha: int = 32

    def __post_init__(self) -> None:
        at_least("model.lora.rank", self.rank, 0)
        above("model.lora.alpha", self.alpha, 0)


@dataclass
class ModelConfig:
    """The model and its token limits.

    name                    the name of the model in run names and reports
    path                    a Hub name or a folder
    local_path              a folder to use instead of `path` if it exists; null for none
    dtype                   "float32" or "bfloat16", for computation and for generation; trained weights are
                            float32 in either case
    prompt_style            how a task writes its prompts for this model: "base", "chat" or "tiny"
    max_prompt_tokens       longest prompt, in tokens, >= 1
    max_completion_tokens   longest completion, in tokens, >= 1
    gradient_checkpointing  recompute activations in the backward pass: less memory, more time
    frozen                  parameters whose name contains one of these strings are not trained; must be empty if
                            lora.rank is above 0
    lora                    LoraConfig
    """

    name: str = MISSING
    path: str = MISSING
    local_path: str | None = None
    dtype: str = "float32"
    prompt_style: str = "base"
    max_prompt_tokens: int = 256
    max_completion_tokens: int = 1024
    gradient_checkpointing: bool = False
    frozen: list[str] = field(default_factory=list)
    lora: LoraConfig = field(default_factory=LoraConfig)

    @property
    def source(self) -> str:
        """The folder or Hub name to load, for transformers and vLLM."""
        if self.local_path is not None and (Path(self.local_path) / "config.json").is_file():
            return str(Path(self.local_path).resolve())
        return str(Path(self.path).resolve()) if Path(self.path).is_dir() else self.path

    def __post_init__(self) -> None:
        one_of("model.dtype", self.dtype, ("float32", "bfloat16"))
        at_least("model.max_prompt_tokens", self.max_prompt_tokens, 1)
        at_least("model.max_completion_tokens", self.max_completion_tokens, 1)
        if self.frozen and self.lora.rank:
            raise ValueError(
                f"model.frozen=[{','.join(self.frozen)}] cannot be combined with model.lora.rank={self.lora.rank}, "
                "which trains adapters of all linear layers and nothing else; set model.frozen=[] or model.lora.rank=0"
            )
        looks_local = self.source.startswith((".", "/", "~", "models/", "outputs/"))
        if looks_local and not (Path(self.source) / "config.json").is_file():
            raise ValueError(
                f"model.path={self.source} is not a folder with a config.json; give such a folder or a Hub name"
            )


@dataclass
class RolloutConfig:
    """How completions are generated.

    backend                 "vllm", or "transformers" for platforms without vLLM
    replicas                number of engines; null starts as many as the topology has room for (one on a CPU)
    tensor_parallel_size    processes per engine, each on a GPU of its own if there are GPUs
    threads                 CPU threads per worker
    max_num_seqs            completions that an engine generates at the same time
    kv_cache_gb             memory per worker for keys and values; null uses 1 GB on a CPU, and on a GPU what
                            gpu_memory_utilization leaves; above 0
    gpu_memory_utilization  share of the GPU's memory that vLLM may use, in (0, 1]
    enforce_eager           true: no torch.compile and no CUDA graphs, which start faster and generate slower; a CPU
                            always runs so
    """

    backend: str = "vllm"
    replicas: int | None = None
    tensor_parallel_size: int = 1
    threads: int = 1
    max_num_seqs: int = 256
    kv_cache_gb: float | None = None
    gpu_memory_utilization: float = 0.45
    enforce_eager: bool = False

    def __post_init__(self) -> None:
        one_of("rollout.backend", self.backend, ("vllm", "transformers"))
        if self.replicas is not None:
            at_least("rollout.replicas", self.replicas, 1)
        at_least("rollout.tensor_parallel_size", self.tensor_parallel_size, 1)
        at_least("rollout.threads", self.threads, 1)
        at_least("rollout.max_num_seqs", self.max_num_seqs, 1)
        if self.kv_cache_gb is not None:
            above("rollout.kv_cache_gb", self.kv_cache_gb, 0)
        above("rollout.gpu_memory_utilization", self.gpu_memory_utilization, 0)
        at_most("rollout.gpu_memory_utilization", self.gpu_memory_utilization, 1)
        if self.tensor_parallel_size > 1 and self.backend != "vllm":
            raise ValueError(
                f"rollout.tensor_parallel_size={self.tensor_parallel_size} requires rollout.backend=vllm, got "
                f"{self.backend}; set it to 1 or choose vllm"
            )

    @property
    def cpu_cache_gb(self) -> float:
        """Memory for keys and values on a CPU, in GB. Left to itself, vLLM takes nearly all of the host's memory."""
        return 1.0 if self.kv_cache_gb is None else self.kv_cache_gb


@dataclass
class TopologyConfig:
    """Where the trio runs.

    device                "auto" uses GPUs if PyTorch finds any, otherwise the CPU
    ray_address           null starts a local Ray for this run; "auto" or "host:port" joins a cluster
    colocate              true: every role uses every GPU; false: some GPUs train, the others generate
    num_gpus              number of GPUs to use, null for all; on a CPU, the number of GPUs to simulate
    actor_ranks           processes that hold the actor (and as many the reference); null means one per GPU,
                          or one on a CPU
    enable_sleep_mode     if roles share a GPU, vLLM releases its memory while the actor trains
    offload_actor         keep the actor's weights and optimizer state in host memory while others use the GPU
    offload_reference     the same for the reference
    max_off_policy_steps  steps by which generation may run ahead of training, 0 or 1
    weight_transfer       "shm" (shared memory), "ipc" (on one GPU) or "nccl" (between GPUs)
    timeout_s             seconds to wait for a worker before the run is aborted
    max_restarts          how many times a run resumes from its last checkpoint after an actor process died
    threads               CPU threads per actor or reference process; null divides all cores among them
    *_gpu_share           the fraction of a GPU that Ray reserves for a process of each role, above 0; those that share
                          a GPU (all three, or actor and reference if colocate=false) add up to at most 1
    """

    name: str = "auto"
    device: str = "auto"
    ray_address: str | None = None
    colocate: bool = True
    num_gpus: int | None = None
    actor_ranks: int | None = None
    enable_sleep_mode: bool = True
    offload_actor: bool = False
    offload_reference: bool = False
    max_off_policy_steps: int = 0
    weight_transfer: str = "shm"
    timeout_s: float = 1800.0
    max_restarts: int = 3
    threads: int | None = None
    actor_gpu_share: float = 0.4
    rollout_gpu_share: float = 0.45
    reference_gpu_share: float = 0.15

    def __post_init__(self) -> None:
        one_of("topology.device", self.device, ("auto", "cpu", "cuda"))
        one_of("topology.weight_transfer", self.weight_transfer, ("shm", "ipc", "nccl"))
        if self.max_off_policy_steps not in (0, 1):
            raise ValueError(f"topology.max_off_policy_steps must be 0 or 1, got {self.max_off_policy_steps}")
        at_least("topology.max_restarts", self.max_restarts, 0)
        above("topology.timeout_s", self.timeout_s, 0)
        for key in ("num_gpus", "actor_ranks", "threads"):
            if (value := getattr(self, key)) is not None:
                at_least(f"topology.{key}", value, 1)
        self._check_gpu_shares()
        if self.max_off_policy_steps and self.colocate:
            raise ValueError(
                "topology.max_off_policy_steps=1 requires topology.colocate=false, since generation and training "
                "run at the same time"
            )

    def _check_gpu_shares(self) -> None:
        shares = {
            "topology.actor_gpu_share": self.actor_gpu_share,
            "topology.reference_gpu_share": self.reference_gpu_share,
            "topology.rollout_gpu_share": self.rollout_gpu_share,
        }
        for key, share in shares.items():
            above(key, share, 0)
            at_most(key, share, 1)
        together = [*shares] if self.colocate else [*shares][:2]  # vLLM has a GPU of its own
        at_most(" + ".join(together), round(sum(shares[key] for key in together), 4), 1)

    def num_threads(self, ranks: int) -> int:
        """CPU threads of each of `ranks` processes."""
        return self.threads or max(1, (os.cpu_count() or 1) // ranks)
