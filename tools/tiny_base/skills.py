"""Measure the skills of a tiny base model; exit with an error if one is outside its bounds.

python -m tools.tiny_base.skills tiny envs/countdown/models/tiny
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from conf.workers import ModelConfig, RolloutConfig
from envs.countdown.corpus import tiny_countdown
from envs.env import Env
from envs.multiplication.corpus import tiny_multiplication
from envs.score import Scorer
from grpo.types import Group, Request, SamplingParams, request_seed
from rewards.mix import RewardConfig
from tools.tiny_base.measures import (
    CountdownSkills,
    MultiplicationSkills,
    measure_countdown,
    measure_multiplication,
)
from workers.transformers_sampler import TransformersSampler


@dataclass(frozen=True)
class Bound:
    """The permitted range, within 0..1, of one attribute of a skills class."""

    skill: str
    least: float
    most: float
    meaning: str

    def holds(self, skills: object) -> bool:
        return self.least <= getattr(skills, self.skill) <= self.most


SEARCH = [
    Bound("copying", 0.98, 1.0, "an attempt uses the given numbers, each once"),
    Bound("arithmetic", 0.98, 1.0, "every equation of an attempt is true"),
    Bound("said_hit", 0.95, 1.0, "an attempt that reaches the target is marked as a hit"),
    Bound("false_hit", 0.0, 0.02, "an attempt that misses the target is marked as a hit"),
    Bound("format", 0.95, 1.0, "the tags are complete and in order"),
]
GIVES_UP = Bound("accuracy", 0.15, 0.30, "held-out answers are exactly correct: the base gives up early")
BOUNDS = {
    "tiny": [*SEARCH, GIVES_UP],
    "tiny-direct": [
        *SEARCH,
        Bound("single", 0.999, 1.0, "completions make one attempt"),
        Bound("accuracy", 0.05, 0.15, "held-out answers are exactly correct: the first attempt hits"),
    ],
    "tiny-student": [*SEARCH, GIVES_UP],
    "tiny-bilingual": [
        *SEARCH,
        GIVES_UP,
        Bound("mixed", 0.15, 0.25, "completions have verdicts in both scripts"),
    ],
    "tiny-multiplication": [
        Bound("equations", 0.98, 1.0, "an equation is true"),
        Bound("copying", 0.98, 1.0, "a line computes a missing part and adds it to the running total"),
        Bound("stopping", 0.95, 1.0, "with every part done, it stops and answers the total"),
        Bound("finished", 0.15, 0.30, "completions with every part done: the base gives up early"),
        Bound("format", 0.95, 1.0, "the tags are complete and in order"),
        Bound("accuracy", 0.15, 0.30, "held-out answers are exactly correct"),
    ],
}


def countdown_skills(path: str, num_problems: int, samples: int) -> CountdownSkills:
    return measure_countdown(sampled_groups(path, tiny_countdown(), num_problems, samples))


def multiplication_skills(path: str, num_problems: int, samples: int) -> MultiplicationSkills:
    return measure_multiplication(sampled_groups(path, tiny_multiplication(), num_problems, samples))


def sampled_groups(path: str, env: Env, num_problems: int, samples: int) -> list[Group]:
    """Sample `samples` completions of each held-out problem from a tiny model at temperature 1, and score them."""
    model = ModelConfig(name="tiny", path=path, prompt_style="tiny", max_prompt_tokens=16)
    sampler = TransformersSampler(model, RolloutConfig(backend="transformers", max_num_seqs=512))
    problems = env.eval_set(num_problems)
    requests = [Request(p.prompt, request_seed("skills", p.key, i)) for p in problems for i in range(samples)]
    completions = sampler.generate(requests, SamplingParams(temperature=1.0, max_tokens=320))
    with Scorer(env, RewardConfig({"correct": 1.0})) as scorer:
        return scorer.score(problems, completions, samples)


def print_skills(title: str, skills: object, bounds: Sequence[Bound]) -> bool:
    """Print the skills beside their bounds; return whether all bounds hold."""
    table = Table(title=title)
    for name in ("skill", "measured", "required", "", "meaning"):
        table.add_column(name)
    for bound in bounds:
        required = f"{100 * bound.least:g}..{100 * bound.most:g}%"
        value = f"{100 * getattr(skills, bound.skill):.2f}%"
        table.add_row(bound.skill, value, required, "ok" if bound.holds(skills) else "NOT MET", bound.meaning)
    Console().print(table)
    return all(bound.holds(skills) for bound in bounds)


def check_skills(name: str, path: str, num_problems: int = 512, samples: int = 4) -> None:
    """Measure the model in `path` and print its skills.

    Raises:
        SystemExit: a skill is outside the bounds of the base `name`.
    """
    measure = multiplication_skills if name == "tiny-multiplication" else countdown_skills
    skills = measure(path, num_problems, samples)
    if not print_skills(f"{path}: {skills.completions} completions", skills, BOUNDS[name]):
        raise SystemExit(f"{path} lacks at least one skill of a proper base model")


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m tools.tiny_base.skills", description=__doc__, formatter_class=raw)
    parser.add_argument("name", choices=BOUNDS)
    parser.add_argument("path", help="the folder of the model")
    parser.add_argument("--problems", type=int, default=512)
    parser.add_argument("--samples", type=int, default=4, help="completions of each problem")
    args = parser.parse_args()
    check_skills(args.name, args.path, args.problems, args.samples)


if __name__ == "__main__":
    main()
