"""What the checks judge: facts of the machine, its software and its network. Nothing here looks at anything."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Unknown:
    """In the place of a fact that could not be had, and why."""

    why: str
    timed_out: bool = False


@dataclass(frozen=True)
class Packages:
    """The installed set against a lock: `wrong` are lines like "torch 2.12.0, locked 2.13.0"."""

    lock: str
    count: int
    wrong: tuple[str, ...]


@dataclass(frozen=True)
class Torch:
    """cuda: what it was built for ("13.0"), None for a CPU build; architectures: like "sm_90", none where it
    sees no GPU; devices: the GPUs that it sees."""

    version: str
    cuda: str | None
    architectures: tuple[str, ...]
    devices: int


@dataclass(frozen=True)
class Holder:
    """A process that holds memory of a GPU; gb is None where the driver does not say."""

    pid: int
    name: str
    gb: float | None


@dataclass(frozen=True)
class Gpu:
    index: int
    name: str
    total_gb: float
    free_gb: float
    capability: tuple[int, int]
    holders: tuple[Holder, ...] = ()


@dataclass(frozen=True)
class Driver:
    """The NVIDIA driver, the newest CUDA that it supports, and the GPUs that it has."""

    version: str
    cuda: tuple[int, int]
    gpus: tuple[Gpu, ...]


@dataclass(frozen=True)
class Memory:
    """Host memory; limit_gb is the cgroup's (a container's), None without one; available_gb is within both."""

    total_gb: float
    available_gb: float
    limit_gb: float | None


@dataclass(frozen=True)
class Space:
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
    """Ray's processes without a program above them, and folders of weights in shared memory; a run that goes
    on now may own the folders."""

    ray_pids: tuple[int, ...]
    folders: tuple[str, ...]
    a_run_goes_on: bool


@dataclass(frozen=True)
class Source:
    """Something that a run loads. kind: "model" or "dataset"; place: "disk", "cache" or "hub"."""

    kind: str
    name: str
    place: str


@dataclass(frozen=True)
class Reply:
    """The Hub's answer about a source. seconds_ahead: of this machine's clock before the Hub's."""

    status: int
    gated: bool
    seconds_ahead: float | None


@dataclass(frozen=True)
class Hub:
    """replies: by the name of the source, of those that must be fetched, and one more for the clock."""

    offline: bool
    has_token: bool
    sources: tuple[Source, ...]
    replies: dict[str, Reply | Unknown]


@dataclass(frozen=True)
class Port:
    """in_use: something listens there already."""

    number: int
    in_use: bool


@dataclass(frozen=True)
class Node:
    """A machine of a Ray cluster. seconds_ahead: of its clock before this machine's."""

    address: str
    python: str
    ray: str
    torch: str
    seconds_ahead: float


@dataclass(frozen=True)
class Facts:
    """All of them; the fields that a check can do without say so by Unknown."""

    python: tuple[int, int, int]
    packages: Packages | Unknown
    torch: Torch | Unknown
    vllm: str | Unknown
    driver: Driver | Unknown
    peers: tuple[str, ...] | Unknown
    cpu: Cpu | Unknown
    memory: Memory | Unknown
    shared_memory: Space | Unknown
    outputs: Space | Unknown
    hub_cache: Space | Unknown
    open_files: int | Unknown
    leftovers: Leftovers | Unknown
    rendezvous: Port | Unknown
    hub: Hub | Unknown
    parameters: int | Unknown
    wandb_account: bool | Unknown
    cluster: tuple[Node, ...] | Unknown
