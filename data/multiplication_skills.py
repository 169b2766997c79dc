"""Print the skills of a tiny model at multiplication beside what a proper base must show; fail when
it does not.

python -m data.multiplication_skills models/tiny-multiplication
"""

from data.multiplication_corpus import tiny_multiplication
from data.tiny_skills import Bound, parse_arguments, print_skills, sampled_groups
from monitor.multiplication_trace import MultiplicationSkills, measure_multiplication

BOUNDS = [
    Bound("equations", 0.98, 1.0, "an equation is true"),
    Bound("copying", 0.98, 1.0, "a step does a part still to be done and adds it to the total so far"),
    Bound("stopping", 0.95, 1.0, "with all parts done: stops and answers the total"),
    Bound("finished", 0.15, 0.30, "completions with all parts done: it gives up early"),
    Bound("format", 0.95, 1.0, "tags complete and in order"),
    Bound("accuracy", 0.15, 0.30, "held-out answers exactly correct"),
]


def multiplication_skills(path: str, num_problems: int, samples: int) -> MultiplicationSkills:
    return measure_multiplication(sampled_groups(path, tiny_multiplication(), num_problems, samples))


def main() -> None:
    args = parse_arguments("Print the skills of a tiny model at multiplication.")
    skills = multiplication_skills(args.path, args.problems, args.samples)
    title = f"{args.path}: {skills.completions} completions, {skills.steps:.2f} steps each"
    if not print_skills(title, skills, BOUNDS):
        raise SystemExit(f"{args.path} is not a proper base")


if __name__ == "__main__":
    main()
