"""Generation: vLLM's engine, its speed, its agreement with the actor, and weights that reach it in place.

The stage starts the trio of a run, so it measures what a run does. The first engine is checked whole, with the transfer
that a run on one GPU uses; each other transfer then has an engine of its own, as far as the time permits.

Equal completions: with the same weights and seeds a completion must repeat. In float32 on a CPU it must repeat exactly.
In bfloat16 on a GPU the last bits may differ between two executions, and after the first token that differs so does the
rest of the completion; there 90% of the completions must repeat their first 16 tokens. A wrong seed or wrong weights
change nearly all of them.
"""

import time
import traceback
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor

from conf.schema import Config
from grpo.grpo import Batch, make_batch
from grpo.types import Completion, Group, Problem, Rollout, SamplingParams, Score
from run.cost import Meter
from tools.doctor.facts import Unknown
from tools.doctor.probe import known, output_of
from tools.gpu_check.generation import clocked, engine_facts, generate, requests_of, sampling_of, speed, workload
from tools.gpu_check.stage import GIB, ROLLOUT_RUN, Measurement, Setup
from tools.planner.roofline import sync_seconds
from workers.actor import Actor
from workers.interrupt import Interrupt
from workers.rank_group import WorkerDied
from workers.trio import Trio, start_trio

FIRST_TOKENS = 16
EQUAL_SHARE = {"float32": 1.0, "bfloat16": 0.9}
# How far the 1st and 99th percentiles of the tokens' probability ratios may be from 1, and ten times how far the median
# may be. Both sides round to 24 or 8 bits after each operation, but in different orders.
RATIO_BOUND = {"float32": 0.001, "bfloat16": 0.1}
COMPARED = 16  # completions
MARGIN = 15.0  # seconds for what is checked after a start
CHANGE = 0.5  # standard deviation of the relative change of each weight
USED_MEMORY = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]


def measure(setup: Setup) -> Iterator[Measurement]:
    end, seconds, is_whole = time.monotonic() + setup.seconds, 0.0, True
    yield from gpu_memory(setup, "before the start")
    if setup.on_gpu and torch.cuda.device_count() == 1:
        yield Measurement("nccl", "not checked: needs two GPUs")
    for transfer in transfers(setup):
        left, start = end - time.monotonic(), time.monotonic()
        if left < seconds:
            yield Measurement(transfer, f"not checked: {left:.0f} s left, it takes about {seconds:.0f} s")
            continue
        try:
            with ExitStack() as running:
                cfg, trio = yield from start_engine(setup, transfer, running, eager=not is_whole)
                seconds = time.monotonic() - start + MARGIN
                yield Measurement(f"{transfer}: seconds until the trio has started", seconds - MARGIN, "s")
                if is_whole:
                    yield from engine(setup, cfg, trio)
                    is_whole = False
                yield from same_weights(setup, cfg, trio, transfer)
                yield from changed_weights(setup, cfg, trio, transfer)
        except Exception as error:  # noqa: BLE001 - the other transfers can be checked nevertheless
            traceback.print_exc()
            yield Measurement(f"{transfer} failed", last_lines(str(error)), passed=False)


def transfers(setup: Setup) -> list[str]:
    if not setup.on_gpu:
        return ["shm"]
    return ["ipc", "shm", "nccl"] if torch.cuda.device_count() > 1 else ["ipc", "shm"]


def settings(setup: Setup, transfer: str, eager: bool) -> Config:
    topology = "cpu" if not setup.on_gpu else "split" if transfer == "nccl" else "one_gpu"
    overrides = [f"topology={topology}", f"topology.weight_transfer={transfer}", f"run={ROLLOUT_RUN}"]
    if transfer == "nccl":
        overrides.append("topology.num_gpus=2")
    # A worker that hangs is reported with its stack before the stage is ended.
    overrides += [f"topology.timeout_s={max(30.0, 0.8 * setup.seconds)}", f"rollout.enforce_eager={eager}"]
    overrides += [f"model.local_path={setup.random_model(setup.model)}", "algorithm.kl.coef=0"]
    return setup.config(*overrides)


def start_engine(
    setup: Setup, transfer: str, running: ExitStack, eager: bool
) -> Generator[Measurement, None, tuple[Config, Trio]]:
    """Start the trio; if its engine fails, report that and start it without CUDA graphs and torch.compile."""
    cfg = settings(setup, transfer, eager)
    torch.cuda.empty_cache()  # this process may have made the model
    try:
        return cfg, running.enter_context(start_trio(cfg, Interrupt(), Meter()))
    except WorkerDied as error:
        if eager or not setup.on_gpu:
            raise
        traceback.print_exc()
        yield Measurement(f"{transfer}: start of the engine", last_lines(str(error.__cause__)), passed=False)
    cfg = settings(setup, transfer, eager=True)
    return cfg, running.enter_context(start_trio(cfg, Interrupt(), Meter()))


def engine(setup: Setup, cfg: Config, trio: Trio) -> Iterator[Measurement]:
    """What does not depend on the transfer: vLLM's choices, speed, seeds, and agreement with the actor."""
    yield from gpu_memory(setup, "with engine and actor")
    for name, value in trio.rollout.group.call("__ray_call__", engine_facts, phase="start").items():
        yield Measurement(name, value)
    completions = yield from generation(setup, cfg, trio)
    yield from agreement("", logprob_gaps(trio, completions), cfg.model.dtype)


def generation(setup: Setup, cfg: Config, trio: Trio) -> Generator[Measurement, None, list[Completion]]:
    """Speed, and whether seeds decide the completions. Returns some of the completions, of several problems."""
    problems, size, few = (32, 8, 8) if setup.on_gpu else (2, 2, 1)
    requests = requests_of(cfg, range(problems), size)
    completions = yield from speed(setup, cfg, trio.rollout, requests, requests[:: len(requests) // few])
    again = generate(trio.rollout, requests, sampling_of(cfg)).completions
    yield from equality("repeated with the same seeds", completions, again, cfg.model.dtype)
    return completions[:: max(1, len(completions) // COMPARED)]


def equality(name: str, before: Sequence[Completion], after: Sequence[Completion], dtype: str) -> Iterator[Measurement]:
    """Compare completions of the same requests."""
    pairs = [(one.token_ids, other.token_ids) for one, other in zip(before, after, strict=True)]
    whole = sum(one == other for one, other in pairs)
    first = sum(one[:FIRST_TOKENS] == other[:FIRST_TOKENS] for one, other in pairs)
    yield Measurement(f"completions {name}", whole, f"of {len(pairs)}")
    passed = first >= EQUAL_SHARE[dtype] * len(pairs)
    yield Measurement(f"first {FIRST_TOKENS} tokens {name}", first, f"of {len(pairs)}", passed=passed)


def logprob_gaps(trio: Trio, completions: Sequence[Completion]) -> Tensor:
    """The actor's log-probability minus vLLM's, for each token of the completions; float32 [tokens]."""
    batch = batch_of(completions)
    logprobs: Tensor = trio.actor.call("logprobs", batch, phase="logprobs")
    return (logprobs - batch.behavior_logprobs)[batch.mask]


def batch_of(completions: Sequence[Completion]) -> Batch:
    rollouts = tuple(Rollout(completion, Score(0.0, False, {}, "")) for completion in completions)
    problem = Problem("", "", "", "", {})
    return make_batch([Group(problem, rollouts)], torch.zeros(len(rollouts)))


def agreement(prefix: str, gap: Tensor, dtype: str) -> Iterator[Measurement]:
    """Quantiles of the probability ratio actor / vLLM over tokens, and the gap of the log-probabilities."""
    bound = RATIO_BOUND[dtype]
    for quantile, allowed in ((0.01, bound), (0.5, bound / 10), (0.99, bound)):
        ratio = float(gap.exp().quantile(quantile))
        name = f"{prefix}probability ratio actor / vLLM, p{100 * quantile:02.0f}"
        yield Measurement(name, ratio, passed=abs(ratio - 1) <= allowed)
    yield Measurement(f"{prefix}largest gap of a log-probability", float(gap.abs().max()))
    yield Measurement(f"{prefix}mean gap of the log-probabilities", float(gap.mean()))


def same_weights(setup: Setup, cfg: Config, trio: Trio, transfer: str) -> Iterator[Measurement]:
    """Transfer the weights that the engine has already: greedy completions must not change.

    Their prompts are new, so that neither time vLLM has them in its prefix cache.
    """
    requests, greedy = requests_of(cfg, range(1000, 1008), 1), SamplingParams(0.0, 32)
    before = generate(trio.rollout, requests, greedy).completions
    weights, published = clocked(lambda: trio.actor.call("publish_weights", 1, phase="weight_sync"))
    _, loaded = clocked(lambda: trio.rollout.load_weights(weights))
    work = workload(setup, cfg)
    planned = sum(sync_seconds(work, transfer, ranks=1).values()) if work else None
    yield Measurement(f"{transfer}: publish", published, "s")
    yield Measurement(f"{transfer}: load", loaded, "s")
    yield Measurement(f"{transfer}: publish and load", published + loaded, "s", planned)
    if work:
        yield Measurement(f"{transfer}: rate of the transfer", work.synced_bytes / GIB / (published + loaded), "GiB/s")
    after = generate(trio.rollout, requests, greedy).completions
    yield from equality(f"equal after {transfer}", before, after, cfg.model.dtype)


def changed_weights(setup: Setup, cfg: Config, trio: Trio, transfer: str) -> Iterator[Measurement]:
    """Let the engine sleep as in a training step, change the actor's weights and transfer them: vLLM must agree with
    the actor again, far better than the actor agrees with its former self."""
    requests = requests_of(cfg, range(2000, 2000 + COMPARED), 1)
    old = generate(trio.rollout, requests, sampling_of(cfg)).completions
    _, asleep = clocked(trio.rollout.sleep)
    if setup.on_gpu and cfg.topology.colocate:
        yield Measurement(f"{transfer}: sleep", asleep, "s")
        yield from gpu_memory(setup, f"while the engine sleeps ({transfer})")
    trio.actor.call("__ray_call__", change, phase="update")
    weights = trio.actor.call("publish_weights", 2, phase="weight_sync")
    _, loaded = clocked(lambda: trio.rollout.load_weights(weights))
    yield Measurement(f"{transfer}: wake and load", loaded, "s")
    yield from gpu_memory(setup, f"after new weights ({transfer})")
    moved = float(logprob_gaps(trio, old).abs().mean())
    gap = logprob_gaps(trio, generate(trio.rollout, requests, sampling_of(cfg)).completions)
    yield from agreement(f"after new weights ({transfer}): ", gap, cfg.model.dtype)
    left = float(gap.abs().mean())
    yield Measurement(f"{transfer}: mean change of a log-probability by the new weights", moved)
    yield Measurement(f"{transfer}: what vLLM missed of it", left / moved, passed=left < moved / 5)


@torch.no_grad()
def change(actor: Actor) -> None:
    """In the actor's process: change every weight by a random factor."""
    actor.onload()
    torch.manual_seed(0)
    for parameter in actor.model.parameters():
        parameter.mul_(1 + CHANGE * torch.randn_like(parameter))


def gpu_memory(setup: Setup, when: str) -> Iterator[Measurement]:
    """Used memory of the first GPU."""
    if setup.on_gpu:
        used = known(lambda: int(output_of(USED_MEMORY, 10).split()[0]) / 1024)
        name = f"GPU memory {when}"
        yield Measurement(name, used.why) if isinstance(used, Unknown) else Measurement(name, used, "GiB")


def last_lines(text: str, count: int = 3) -> str:
    return "\n".join([line for line in text.splitlines() if line.strip()][-count:])
