"""The settings of evaluate.py: whose completions, and what is made of them."""

from dataclasses import dataclass, field
from pathlib import Path

from conf.schema import Config
from grpo.settings import at_least, one_of
from rewards.judge import JudgeConfig

STRATEGIES = ("greedy", "sample", "majority", "best_of_n", "beam", "budget", "revise")
VERIFIERS = ("oracle", "logprob", "judge", "learned")
PROMPTS = ("cot", "direct")


@dataclass
class StrategyConfig:
    """name       what is done with a problem (inference/)
    n          completions of sample, majority and best_of_n
    prompt     "cot": think first; "direct": answer at once
    weighted   best_of_n adds up the scores of equal answers
    verifier   of best_of_n and beam: "oracle" (the exact checker: an upper bound), "logprob" (the model's own
               certainty), "judge" (a language model, `judge`), "learned" (tools/train_verifier.py)
    beams, expand, max_step_tokens   beam: beams / expand of them are kept, with `expand` next steps each
    waits, wait, cap   budget: how often the end of the thought is replaced by `wait`; its most tokens
    rounds     revise: how often the answer is put back
    """

    name: str = "sample"
    n: int = 8
    prompt: str = "cot"
    temperature: float = 1.0
    weighted: bool = False
    verifier: str = "oracle"
    beams: int = 4
    expand: int = 2
    max_step_tokens: int = 128
    waits: int = 1
    wait: str = "Wait"
    cap: int | None = None
    rounds: int = 2

    def __post_init__(self) -> None:
        one_of("strategy.name", self.name, STRATEGIES)
        one_of("strategy.verifier", self.verifier, VERIFIERS)
        one_of("strategy.prompt", self.prompt, PROMPTS)
        at_least("strategy.n", self.n, 1)
        at_least("strategy.temperature", self.temperature, 0)

    @property
    def label(self) -> str:
        """A name that tells apart what is asked for."""
        sizes = {
            "greedy": "",
            "budget": f"-{self.waits}" + (f"-cap{self.cap}" if self.cap else ""),
            "beam": f"-{self.beams}x{self.expand}-{self.verifier}",
            "revise": f"-{self.rounds}",
            "best_of_n": f"-{self.n}-{self.verifier}" + ("-weighted" if self.weighted else ""),
        }
        return self.name + sizes.get(self.name, f"-{self.n}") + ("-direct" if self.prompt == "direct" else "")

    @property
    def verifies(self) -> bool:
        return self.name in ("best_of_n", "beam")

    @property
    def samples(self) -> bool:
        """Its candidates are independent samples."""
        return self.name in ("sample", "majority", "best_of_n")


@dataclass
class OfRunConfig(Config):
    """run: whose newest checkpoint is the model, or the one named by `ckpt` (step_000060); without a run it is
    the model as it is."""

    run: str = ""
    ckpt: str | None = None

    @property
    def folder(self) -> Path:
        """Where results go: the run's own folder, or one named after the model and the task."""
        return Path("outputs", self.run or f"eval-{self.model.name}-{self.env.name}")


@dataclass
class EvaluateConfig(OfRunConfig):
    """name: of the result, eval/<name>.json, null for one after the strategy. max_asks: requests in flight at
    once. verifier_path: the folder of a learned verifier, null for the one that lies in the run's."""

    name: str | None = None
    num_problems: int = 512
    max_asks: int = 1024
    verifier_path: str | None = None
    strategy: StrategyConfig = field(default_factory=StrategyConfig)
    judge: JudgeConfig = field(default_factory=JudgeConfig)

    @property
    def learned_verifier(self) -> Path | None:
        """The folder of the learned verifier, where the strategy asks for one."""
        if not self.strategy.verifies or self.strategy.verifier != "learned":
            return None
        return Path(self.verifier_path) if self.verifier_path else self.folder / "verifier"

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("num_problems", self.num_problems, 1)
        at_least("max_asks", self.max_asks, 1)
        if self.strategy.verifies and self.strategy.verifier == "judge" and not self.judge.model:
            raise ValueError("strategy.verifier=judge needs judge.model: a Hub name, a folder, or a served name")
