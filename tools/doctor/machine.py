"""Memory, disk and limits of the host, and what dead runs left there."""

from tools.doctor.facts import Cpu, Leftovers, Memory, Port, Space
from tools.doctor.findings import ERROR, OK, WARNING, Finding
from tools.doctor.needs import Needs

FEW_OPEN_FILES = 4096  # below it Ray warns: workers and connections hold dozens each
OBJECT_STORE_GB = 1.0  # of shared memory, for what Ray's workers pass to each other
SPARE_DISK_GB = 2.0  # metrics, samples, a report, wandb's files
BIGGER_SHM = "sudo mount -o remount,size={size:.0f}G /dev/shm; in a container: docker run --shm-size={size:.0f}g"


def judge_cpu(cpu: Cpu, dtype: str) -> Finding:
    """For a run on the CPU: which of vLLM's kernels it has."""
    saw = f"{cpu.cores} cores"
    if cpu.machine != "x86_64":
        return Finding(OK, f"{saw}, {cpu.machine}")
    if "avx2" not in cpu.flags:
        return Finding(ERROR, f"{saw} without AVX2, which vLLM's kernels need", "rollout.backend=transformers")
    vectors = "AVX512" if "avx512f" in cpu.flags else "AVX2"
    if dtype == "bfloat16" and "avx512f" not in cpu.flags:
        return Finding(WARNING, f"{saw}, {vectors}: bfloat16 is ten times slower than float32", "model.dtype=float32")
    return Finding(OK, f"{saw}, {vectors}")


def judge_memory(memory: Memory, needs: Needs) -> Finding:
    within = f" of a container's {memory.limit_gb:.1f}" if memory.limit_gb else f" of {memory.total_gb:.1f}"
    saw = f"{memory.available_gb:.1f}{within} GB available, about {needs.host:.1f} needed"
    if memory.available_gb < needs.host:
        do = "end what holds it (ps aux --sort=-rss | head), or rent more; a smaller rollout.kv_cache_gb on a CPU"
        return Finding(ERROR if memory.available_gb < 0.7 * needs.host else WARNING, saw, do)
    return Finding(OK, saw)


def judge_shared_memory(space: Space, needs: Needs) -> Finding:
    """Weights go through it, and Ray's object store lies in it, or else in /tmp, slowly."""
    wanted = needs.shared + OBJECT_STORE_GB
    saw = f"{space.free_gb:.1f} of {space.total_gb:.1f} GB free in {space.folder}"
    do = BIGGER_SHM.format(size=max(4.0, 2 * wanted))
    if space.free_gb < needs.shared or not space.writable:
        why = f"the weights take {needs.shared:.1f}" if space.writable else "it can't be written"
        return Finding(ERROR, f"{saw}, {why}", do)
    if space.free_gb < wanted:
        return Finding(WARNING, f"{saw}; Ray puts its objects into /tmp then", do)
    return Finding(OK, f"{saw}, {wanted:.1f} needed")


def judge_outputs(space: Space, needs: Needs, keep: int) -> Finding:
    wanted = needs.checkpoints + SPARE_DISK_GB
    saw = f"{space.free_gb:.1f} GB free, about {wanted:.1f} needed for {keep} checkpoints and one on its way"
    if not space.writable:
        return Finding(ERROR, f"{space.folder} can't be written", f"ls -ld {space.folder}")
    if space.free_gb < wanted:
        return Finding(ERROR, saw, "checkpoint.keep=1, or a larger disk with a link to it: ln -s /data/outputs outputs")
    return Finding(OK, saw)


def judge_open_files(limit: int) -> Finding:
    if limit < FEW_OPEN_FILES:
        return Finding(WARNING, f"{limit}", "ulimit -n 65536")
    return Finding(OK, "no limit" if limit > 2**31 else f"{limit}")


def judge_leftovers(leftovers: Leftovers, joins_cluster: bool) -> Finding:
    saw, do = [], []
    if leftovers.ray_pids and not joins_cluster:
        pids = " ".join(map(str, leftovers.ray_pids))
        saw.append(f"Ray processes without a run ({pids})")
        do.append(f"kill {pids}, unless they are a cluster of yours")
    if leftovers.folders and not leftovers.a_run_goes_on:
        saw.append(f"weights in {', '.join(leftovers.folders)}")
        do.append(f"rm -r {' '.join(leftovers.folders)}")
    if saw:
        return Finding(WARNING, f"left by runs that died: {'; '.join(saw)}", "; ".join(do))
    return Finding(OK, "another run goes on here" if leftovers.a_run_goes_on else "nothing left by earlier runs")


def judge_rendezvous(port: Port) -> Finding:
    if port.in_use:
        return Finding(ERROR, f"port {port.number} is taken", f"export MASTER_PORT={port.number + 1}")
    return Finding(OK, f"port {port.number} is free")
