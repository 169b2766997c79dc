"""Print the skills of a tiny model beside what a proper base must show; fail when it does not.

python -m data.tiny_skills models/tiny
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from conf.schema import ModelConfig, RolloutConfig
from data.tiny_corpus import tiny_countdown
from envs.score import Env, Scorer
from grpo.types import Group
from monitor.skills import Skills, measure_skills
from rewards.mix import RewardConfig
from workers.sampler import Request, Sampling, request_seed
from workers.transformers_sampler import TransformersSampler


@dataclass(frozen=True)
class Bound:
    """A skill is a share in 0..1, an attribute of a skills class."""

    skill: str
    least: float
    most: float
    meaning: str

    def holds(self, skills: object) -> bool:
        return self.least <= getattr(skills, self.skill) <= self.most


BOUNDS = [
    Bound("copying", 0.98, 1.0, "a try uses the given numbers, each once"),
    Bound("arithmetic", 0.98, 1.0, "every equation of a try is true"),
    Bound("said_hit", 0.95, 1.0, "a try that hits the target is called a hit"),
    Bound("false_hit", 0.0, 0.02, "a try that misses is called a hit"),
    Bound("format", 0.95, 1.0, "tags complete and in order"),
    Bound("accuracy", 0.15, 0.30, "held-out answers exactly correct: it gives up early"),
]


def tiny_skills(path: str, num_problems: int, samples: int) -> Skills:
    return measure_skills(sampled_groups(path, tiny_countdown(), num_problems, samples))


def sampled_groups(path: str, env: Env, num_problems: int, samples: int) -> list[Group]:
    """`samples` completions of a tiny model for each held-out problem, at temperature 1, scored."""
    model = ModelConfig(name="tiny", path=path, prompt_style="tiny", max_prompt_tokens=16)
    sampler = TransformersSampler(model, RolloutConfig(backend="transformers", max_sequences=512), "cpu")
    problems = env.held_out(num_problems)
    requests = [Request(p.prompt, request_seed("skills", p.key, i)) for p in problems for i in range(samples)]
    completions = sampler.generate(requests, Sampling(temperature=1.0, max_tokens=320))
    with Scorer(env, RewardConfig({"correct": 1.0})) as scorer:
        return scorer.score(problems, completions, samples)


def print_skills(title: str, skills: object, bounds: Sequence[Bound]) -> bool:
    """A table of the skills beside their bounds; whether all of these hold."""
    table = Table(title=title)
    for name in ("skill", "measured", "must be", "", "meaning"):
        table.add_column(name)
    for bound in bounds:
        must = f"{100 * bound.least:.0f}..{100 * bound.most:.0f}%"
        value = f"{100 * getattr(skills, bound.skill):.2f}%"
        table.add_row(bound.skill, value, must, "ok" if bound.holds(skills) else "NOT MET", bound.meaning)
    Console().print(table)
    return all(bound.holds(skills) for bound in bounds)


def parse_arguments(description: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("path")
    parser.add_argument("--problems", type=int, default=512)
    parser.add_argument("--samples", type=int, default=4)
    return parser.parse_args()


def main() -> None:
    assert __doc__ is not None
    args = parse_arguments(__doc__.splitlines()[0])
    skills = tiny_skills(args.path, args.problems, args.samples)
    title = f"{args.path}: {skills.completions} completions, {skills.tries:.2f} tries each"
    if not print_skills(title, skills, BOUNDS):
        raise SystemExit(f"{args.path} is not a proper base")


if __name__ == "__main__":
    main()
