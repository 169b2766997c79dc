"""The settings of evaluate.py and of other commands that decode: the model and its task, the strategy, the verifier."""

from dataclasses import dataclass, field
from pathlib import Path

from conf.schema import Config
from grpo.settings import at_least, not_empty, one_of
from rewards.judge import JudgeConfig

STRATEGIES = ("greedy", "sample", "majority", "best_of_n", "beam", "budget", "revise")
VERIFIERS = ("oracle", "logprob", "judge", "learned")
PROMPTS = ("cot", "direct")


@dataclass
class StrategyConfig:
    """A decoding strategy (inference/strategies.py).

    name       the strategy
    n          sample, majority, best_of_n: number of completions
    prompt     "cot": reason before the answer; "direct": answer immediately
    weighted   best_of_n: sum the scores of equal answers
    verifier   best_of_n, beam: "oracle" (the exact checker, an upper bound), "logprob" (the model's own certainty),
               "judge" (a language model, see `judge`), "learned" (trained by tools/train_verifier.py)
    beams      beam: number of candidates per step
    expand     beam: number of continuations of each kept candidate; beams / expand are kept per step
    max_step_tokens  beam: limit on the length of a step
    waits      budget: how many times the end of the reasoning is replaced by `wait`
    cap        budget: limit on the tokens of the reasoning, null for none
    rounds     revise: maximum number of revisions
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
        if self.name == "greedy" and self.temperature != 0:
            raise ValueError(
                f"strategy.temperature must be 0 with greedy decoding, got {self.temperature:g}; choose "
                "strategy=sample for other temperatures"
            )

    @property
    def label(self) -> str:
        """A name that identifies the strategy and its size."""
        sizes = {
            "greedy": "",
            "budget": f"-{self.waits}" + (f"-cap{self.cap}" if self.cap else ""),
            "beam": f"-{self.beams}x{self.expand}-{self.verifier}",
            "revise": f"-{self.rounds}",
            "best_of_n": f"-{self.n}-{self.verifier}" + ("-weighted" if self.weighted else ""),
        }
        return self.name + sizes.get(self.name, f"-{self.n}") + ("-direct" if self.prompt == "direct" else "")

    @property
    def uses_verifier(self) -> bool:
        return self.name in ("best_of_n", "beam")

    @property
    def samples(self) -> bool:
        """Whether the candidates are independent samples."""
        return self.name in ("sample", "majority", "best_of_n")

    @property
    def completions(self) -> int:
        """The completions of a problem, at most; those of a beam count as whole ones."""
        several = {"beam": self.beams, "revise": 1 + self.rounds}
        return self.n if self.samples else several.get(self.name, 1)


@dataclass
class FromRunConfig(Config):
    """The settings of a command that can take a run's checkpoint as the model.

    run   name of a run; empty to use the model of the settings
    ckpt  a checkpoint of the run, for example step_000036; null for the newest
    """

    run: str = ""
    ckpt: str | None = None

    @property
    def folder(self) -> Path:
        """The folder of the run, or one named after the model and the task."""
        return Path("outputs", self.run or f"eval-{self.model.name}-{self.env.name}")


@dataclass
class DecodingConfig(FromRunConfig):
    """The settings of a command that runs a decoding strategy on problems.

    max_requests   upper bound on the requests in flight
    verifier_path  folder of a learned verifier; null for the one of the run
    judge          the language model of strategy.verifier=judge
    """

    num_problems: int = 512
    max_requests: int = 1024
    verifier_path: str | None = None
    strategy: StrategyConfig = field(default_factory=StrategyConfig)
    judge: JudgeConfig = field(default_factory=JudgeConfig)

    @property
    def learned_verifier(self) -> Path | None:
        """The folder of the learned verifier; None if the strategy uses no learned verifier."""
        if not self.strategy.uses_verifier or self.strategy.verifier != "learned":
            return None
        return Path(self.verifier_path) if self.verifier_path else self.folder / "verifier"

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("num_problems", self.num_problems, 1)
        at_least("max_requests", self.max_requests, 1)
        self.judge.check("judge")
        if self.strategy.uses_verifier and self.strategy.verifier == "judge" and not self.judge.model:
            raise ValueError("strategy.verifier=judge needs judge.model: a Hub name, a folder, or a served model name")


@dataclass
class EvaluateConfig(DecodingConfig):
    """The settings of evaluate.py.

    name    of the result file eval/<name>.json; null to derive it from the strategy and the seed
    output  the folder of eval/; null for that of the run, or one named after the model and the task
    """

    name: str | None = None
    output: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        not_empty("name", self.name)
        not_empty("output", self.output)

    @property
    def results_folder(self) -> Path:
        return Path(self.output) if self.output is not None else self.folder
