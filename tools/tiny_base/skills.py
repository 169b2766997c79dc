"""Measure the skills of a tiny base model; exit with an error if one is outside its bounds.

python -m tools.tiny_base.skills countdown envs/countdown/models/tiny
"""

import argparse
from collections.abc import Callable, Sequence
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


BOUNDS = {
    "countdown": [
        Bound("copying", 0.98, 1.0, "an attempt uses the given numbers, each once"),
        Bound("arithmetic", 0.98, 1.0, "every equation of an attempt is true"),
        Bound("said_hit", 0.95, 1.0, "an attempt that reaches the target is marked as a hit"),
        Bound("false_hit", 0.0, 0.02, "an attempt that misses the target is marked as a hit"),
        Bound("format", 0.95, 1.0, "the tags are complete and in order"),
        Bound("accuracy", 0.15, 0.30, "held-out answers are exactly correct: the base gives up early"),
    ],
    "multiplication": [
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


MEASURES: dict[str, Callable[[str, int, int], CountdownSkills | MultiplicationSkills]] = {
    "countdown": countdown_skills,
    "multiplication": multiplication_skills,
}


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
        required = f"{100 * bound.least:.0f}..{100 * bound.most:.0f}%"
        value = f"{100 * getattr(skills, bound.skill):.2f}%"
        table.add_row(bound.skill, value, required, "ok" if bound.holds(skills) else "NOT MET", bound.meaning)
    Console().print(table)
    return all(bound.holds(skills) for bound in bounds)


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m tools.tiny_base.skills", description=__doc__, formatter_class=raw)
    parser.add_argument("task", choices=sorted(BOUNDS))
    parser.add_argument("path", help="the folder of the model")
    parser.add_argument("--problems", type=int, default=512)
    parser.add_argument("--samples", type=int, default=4, help="completions of each problem")
    args = parser.parse_args()
    skills = MEASURES[args.task](args.path, args.problems, args.samples)
    if not print_skills(f"{args.path}: {skills.completions} completions", skills, BOUNDS[args.task]):
        raise SystemExit(f"{args.path} lacks at least one skill of a proper base model")


if __name__ == "__main__":
    main()
