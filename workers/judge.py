"""The judges of a run: of the reward's `format_judge`, and of reflection at evaluations."""

from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import RayError

from conf.schema import Config, ModelConfig, RolloutConfig
from grpo.types import Chat, Request, SamplingParams, in_request_order
from rewards.behavior_judge import BehaviorJudge
from rewards.judge import REPLY_TOKENS, Ask, FormatJudge, JudgeConfig, ServedJudge
from workers.sampler import Sampler
from workers.transformers_sampler import TransformersSampler

PROMPT_TOKENS = 4096
EXAMPLE = "3 and 4 add up to 7. </think> <answer>7</answer>"


class LocalJudge:
    """An `Ask` over a chat model in this process, greedy, its reply begun for it."""

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
        self.sampler: Sampler = TransformersSampler(model, RolloutConfig(max_num_seqs=16), device)

    def __call__(self, questions: Sequence[Chat]) -> list[str | None]:
        requests = [Request(question, seed=0) for question in questions]
        replies = in_request_order(self.sampler.generate(requests, SamplingParams(0.0, REPLY_TOKENS)))
        return [reply.text for reply in replies]


def make_judge(cfg: Config, device: str) -> FormatJudge | None:
    """The judge of the reward; None where no component asks for one.

    Raises:
        ValueError: it can't be had, or gives no score to a plain example.
    """
    if not cfg.reward.judged:
        return None
    return proven(FormatJudge(ask_of(cfg.reward.judge, device)), cfg.reward.judge)


def make_behavior_judge(cfg: Config, device: str) -> BehaviorJudge | None:
    """The judge of reflection at evaluations; None where no model is named for it."""
    judge = cfg.evaluation.judge
    return BehaviorJudge(ask_of(judge, device)) if judge.model is not None else None


def ask_of(judge: JudgeConfig, device: str) -> Ask:
    """The judge's model, in a Ray process of its own unless a server has it."""
    if judge.base_url is not None:
        return ServedJudge(judge)
    worker: Any = ray.remote(LocalJudge).options(num_cpus=1).remote(judge, device)

    def ask(questions: Sequence[Chat]) -> list[str | None]:
        try:
            replies: list[str | None] = ray.get(worker.__call__.remote(questions))
        except RayError:
            return [None] * len(questions)
        return replies

    return ask


def local_judge(judge: JudgeConfig) -> FormatJudge:
    """A judge without Ray, for the command line."""
    ask: Ask = ServedJudge(judge) if judge.base_url is not None else LocalJudge(judge, "cpu")
    return proven(FormatJudge(ask), judge)


def proven(judge: FormatJudge, cfg: JudgeConfig) -> FormatJudge:
    """The judge, when it can score an example."""
    if judge.review([EXAMPLE]) == [None]:
        where = f"at reward.judge.base_url={cfg.base_url}" if cfg.base_url else "loaded by the run"
        raise ValueError(
            f"reward.judge.model={cfg.model}, {where}, gave no score to a plain example; "
            "see that it runs, has a chat template, and follows instructions"
        )
    return judge
