"""Python, the lock, torch and vLLM."""

from tools.doctor.facts import Driver, Packages, Torch, Unknown
from tools.doctor.findings import ERROR, OK, WARNING, Finding

OLDEST, TOO_NEW = (3, 11), (3, 15)  # requires-python of pyproject.toml
NAMED = 3
AGAIN = "rm .venv/ready-* && make setup"


def judge_python(version: tuple[int, int, int]) -> Finding:
    said = ".".join(map(str, version))
    if OLDEST <= version[:2] < TOO_NEW:
        return Finding(OK, said)
    return Finding(ERROR, f"{said}, needed is 3.11 to 3.14", "rm -rf .venv && make setup PYTHON=python3.11")


def judge_packages(packages: Packages) -> Finding:
    if not packages.wrong:
        return Finding(OK, f"{packages.count} packages are those of {packages.lock}")
    named = "; ".join(packages.wrong[:NAMED]) + ("; ..." if len(packages.wrong) > NAMED else "")
    saw = f"{len(packages.wrong)} of {packages.count} packages are not those of {packages.lock}: {named}"
    return Finding(WARNING, saw, AGAIN)


def judge_torch(torch: Torch | Unknown, driver: Driver | None, wanted: str) -> Finding:
    """wanted: topology.device. driver: None where there is none."""
    if isinstance(torch, Unknown):
        return _not_imported(torch)
    build = f"{torch.version}, " + (f"CUDA {torch.cuda}" if torch.cuda else "for the CPU")
    has_gpus = driver is not None and len(driver.gpus) > 0
    if wanted == "cpu":
        return Finding(OK, f"{build}; topology.device=cpu")
    if torch.cuda is None and has_gpus:
        return Finding(
            ERROR, f"{build}, on a machine with a GPU", "rm -rf .venv && make setup, where nvidia-smi -L lists it"
        )
    if torch.cuda is not None and not torch.devices:
        return Finding(
            ERROR,
            f"{build}, but torch sees no GPU" + (" where nvidia-smi lists some" if has_gpus else ""),
            "echo $CUDA_VISIBLE_DEVICES; in a container: docker run --gpus all; without a GPU: topology=cpu",
        )
    if wanted == "cuda" and not torch.devices:
        return Finding(ERROR, f"{build}, but topology.device=cuda", "rent a GPU, or give topology=cpu")
    return Finding(OK, f"{build}, {torch.devices} GPUs" if torch.devices else f"{build}; no GPU, none needed")


def judge_vllm(vllm: str | Unknown, backend: str, on_gpu: bool) -> Finding:
    """vllm: its version and its device, as "0.32.0 for cuda", or why it does not import."""
    if isinstance(vllm, str):
        if vllm.endswith("cuda") == on_gpu:
            return Finding(OK, vllm)
        return Finding(ERROR, f"{vllm}, but the run is on a {'GPU' if on_gpu else 'CPU'}", AGAIN)
    if backend != "vllm":
        return Finding(WARNING, f"does not import, and rollout.backend={backend} does without: {vllm.why}")
    return _not_imported(vllm)


def _not_imported(library: Unknown) -> Finding:
    if library.timed_out:
        return Finding(WARNING, library.why, "the machine or its disk is busy; once more")
    return Finding(ERROR, f"does not import: {library.why}", AGAIN)
