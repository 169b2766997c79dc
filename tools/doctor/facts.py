"""Facts about the machine, its software and its network. The checks judge them; nothing here looks anything up."""

from collections.abc import Mapping
from dataclasses import dataclass

from workers.machine import Obstacle
from workers.nvidia import Driver


@dataclass(frozen=True)
class Unknown:
    """Stands for a fact that could not be determined, with the reason."""

    why: str
    timed_out: bool = False


@dataclass(frozen=True)
class Packages:
    """The installed packages compared with a lock file. wrong: lines such as "torch 2.12.0, locked 2.13.0"."""

    lock: str
    count: int
    wrong: tuple[str, ...]


@dataclass(frozen=True)
class Torch:
    """cuda: the CUDA version that torch was built for, such as "13.0", or None for a CPU build; architectures: such as
    "sm_90", empty if torch sees no GPU; devices: number of GPUs that torch sees."""

    version: str
    cuda: str | None
    architectures: tuple[str, ...]
    devices: int


@dataclass(frozen=True)
class HostMemory:
    """limit_gb: the limit of the cgroup (container), or None; available_gb: within that limit."""

    total_gb: float
    available_gb: float
    limit_gb: float | None


@dataclass(frozen=True)
class DiskSpace:
    folder: str
    total_gb: float
    free_gb: float
    writable: bool


@dataclass(frozen=True)
class Cpu:
    machine: str
    cores: int
    flags: frozenset[str]


@dataclass(frozen=True)
class Leftovers:
    """Ray processes without a parent program, folders of weights in shared memory that no run uses, and whether a run
    is in progress."""

    ray_pids: tuple[int, ...]
    folders: tuple[str, ...]
    run_in_progress: bool


@dataclass(frozen=True)
class Source:
    """A model or dataset that a run loads. kind: "model" or "dataset"; location: "disk", "cache" or "hub"."""

    kind: str
    name: str
    location: str


@dataclass(frozen=True)
class Reply:
    """The Hub's answer about a source. seconds_ahead: of this machine's clock relative to the Hub's."""

    status: int
    gated: bool
    seconds_ahead: float | None


@dataclass(frozen=True)
class Hub:
    """replies: by source name, for the sources that must be downloaded, or else for one that tells the time."""

    offline: bool
    has_token: bool
    sources: tuple[Source, ...]
    replies: dict[str, Reply | Unknown]


@dataclass(frozen=True)
class Listener:
    """A port on which a process of Ray or of a run waits for connections. has_token: whether its Ray answers only to
    those who have the token of the run."""

    process: str
    address: str
    port: int
    has_token: bool


@dataclass(frozen=True)
class Node:
    """A machine of a Ray cluster. seconds_ahead: of its clock relative to this machine's."""

    address: str
    python: str
    ray: str
    torch: str
    seconds_ahead: float


@dataclass(frozen=True)
class Requirements:
    """What the run needs as configured, in GiB, by the planner's memory model (tools/planner).

    weights         the model in the dtype of generation
    training_state  weights, gradients and optimizer state of the whole actor
    training        on one GPU while it trains; 0 on a CPU
    generating      on one GPU while it generates; 0 on a CPU
    usable          of one GPU, without the reserve for fragmentation; 0 on a CPU
    vllm            what must be free on each GPU when vLLM starts
    problem         why the run does not fit on the GPUs, or None
    host            memory of all processes, shared memory included
    shared_memory   in /dev/shm
    checkpoints     on disk
    """

    weights: float
    training_state: float
    training: float
    generating: float
    usable: float
    vllm: tuple[float, ...]
    problem: str | None
    host: float
    shared_memory: float
    checkpoints: float


@dataclass(frozen=True)
class Facts:
    """All facts. Those that a check can do without may be Unknown."""

    python: tuple[int, int, int]
    packages: Packages | Unknown
    torch: Torch | Unknown
    vllm: str | Unknown
    driver: Driver | Unknown
    peers: tuple[str, ...] | Unknown
    cpu: Cpu | Unknown
    memory: HostMemory | Unknown
    shared_memory: DiskSpace | Unknown
    outputs: DiskSpace | Unknown
    hub_cache: DiskSpace | Unknown
    open_files: int | Unknown
    data: tuple[str, ...] | Unknown
    obstacles: Mapping[str, Obstacle | None] | Unknown
    listeners: tuple[Listener, ...] | Unknown
    leftovers: Leftovers | Unknown
    hub: Hub | Unknown
    requirements: Requirements | Unknown
    wandb_account: bool | Unknown
    cluster: tuple[Node, ...] | Unknown
    cluster_is_open: bool | Unknown
