"""The language-model judges of a run: for the reward component `format_judge`, and for reflection at evaluations."""

from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import RayError

from conf.schema import RunConfig
from conf.workers import ModelConfig, RolloutConfig
from grpo.types import Chat, Request, SamplingParams, in_request_order
from rewards.behavior_judge import BehaviorJudge
from rewards.judge import REPLY_TOKENS, Ask, FormatJudge, JudgeConfig, ServedJudge
from workers.rank_group import DEATHS, RankInfo
from workers.session import WorkerSettings
from workers.transformers_sampler import TransformersSampler

PROMPT_TOKENS = 4096
QUESTION = Chat("You answer with one word.", "Is 3 + 4 = 7?", "")
EXAMPLE = "3 and 4 add up to 7. </think> <answer>7</answer>"


class LocalJudge:
    """An `Ask` that is answered by a chat model in this process, with greedy decoding."""

    def __init__(self, judge: JudgeConfig, device: str) -> None:
        assert judge.model is not None
        model = ModelConfig(
            "judge",
            judge.model,
            prompt_style="chat",
            max_prompt_tokens=PROMPT_TOKENS,
            max_completion_tokens=REPLY_TOKENS,
            dtype="bfloat16" if device == "cuda" else "float32",
        )
        self.sampler = TransformersSampler(model, RolloutConfig(max_num_seqs=16), info=RankInfo(device=device))

    def __call__(self, questions: Sequence[Chat]) -> list[str | None]:
        requests = [Request(question, seed=0) for question in questions]
        replies = in_request_order(self.sampler.generate(requests, SamplingParams(0.0, REPLY_TOKENS)))
        return [reply.text for reply in replies]


def make_judge(cfg: RunConfig, device: str) -> FormatJudge | None:
    """The judge of the reward, or None if no component needs one.

    Raises:
        ValueError: the judge cannot be loaded, or does not score a plain example.
    """
    if not cfg.reward.judged:
        return None
    return checked(FormatJudge(ask_of(cfg.reward.judge, "reward.judge", cfg, device)), cfg.reward.judge)


def make_behavior_judge(cfg: RunConfig, device: str) -> BehaviorJudge | None:
    """The judge of reflection at evaluations, or None if `evaluation.judge.model` is not set.

    Raises:
        ValueError: the judge does not answer.
    """
    judge = cfg.evaluation.judge
    return BehaviorJudge(ask_of(judge, "evaluation.judge", cfg, device)) if judge.model is not None else None


def ask_of(judge: JudgeConfig, key: str, cfg: WorkerSettings, device: str) -> Ask:
    """Ask the judge's model, which runs in a Ray process of its own unless it is served elsewhere.

    key  of its settings

    Raises:
        ValueError: it does not answer.
    """
    ask: Ask = ServedJudge(judge) if judge.base_url is not None else _local(judge, device, cfg.topology.timeout_s)
    if ask([QUESTION]) == [None]:
        raise ValueError(f"{_named(judge, key)}, does not answer; check that it exists, runs and has a chat template")
    return ask


def _named(judge: JudgeConfig, key: str) -> str:
    where = f"at {key}.base_url={judge.base_url}" if judge.base_url else "loaded by the run"
    return f"{key}.model={judge.model}, {where}"


def _local(judge: JudgeConfig, device: str, timeout_s: float) -> Ask:
    # The bundles of the run have reserved all CPUs, so that a process that asks for one would wait forever.
    start = ray.remote(LocalJudge).options(num_cpus=0).remote
    worker: Any = start(judge, device)

    def ask(questions: Sequence[Chat]) -> list[str | None]:
        nonlocal worker
        try:
            replies: list[str | None] = ray.get(worker.__call__.remote(questions), timeout=timeout_s)
        except RayError as error:  # includes the time-out
            if isinstance(error, DEATHS):
                worker = start(judge, device)  # for the next questions
            return [None] * len(questions)
        return replies

    return ask


def local_judge(judge: JudgeConfig) -> FormatJudge:
    """A judge without Ray, for `python -m rewards`."""
    ask: Ask = ServedJudge(judge) if judge.base_url is not None else LocalJudge(judge, "cpu")
    return checked(FormatJudge(ask), judge)


def checked(judge: FormatJudge, cfg: JudgeConfig) -> FormatJudge:
    """Return the judge if it can score an example."""
    if judge.review([EXAMPLE]) == [None]:
        raise ValueError(
            f"{_named(cfg, 'reward.judge')}, returned no score for a plain example; "
            "check that it runs, has a chat template and follows instructions"
        )
    return judge
