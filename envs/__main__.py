"""Print problems of a task with their prompts and answers.

python -m envs sample --env countdown -n 5 --split test
"""

import argparse
import json

from conf.compose import compose_config
from conf.launch import checking_settings
from envs.printable import printable
from grpo.types import Problem


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m envs", description=__doc__, formatter_class=raw)
    parser.add_argument("command", choices=["sample"])
    parser.add_argument("--env", default="countdown", help="name of the task in conf/env/")
    parser.add_argument("--model", default="qwen-3b", help="name of the model in conf/model/, for its prompt style")
    parser.add_argument("-n", "--number", type=int, default=3, help="number of problems")
    parser.add_argument("--split", choices=["train", "test"], default="train")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("overrides", nargs="*", help="Hydra overrides, e.g. env.max_number=20 env.prompt_style=chat")
    args = parser.parse_intermixed_args()
    with checking_settings():
        cfg = compose_config([f"env={args.env}", f"model={args.model}", *args.overrides])
        problems = [cfg.env.problem(args.seed, args.split, index) for index in range(args.number)]
    for index, problem in enumerate(problems):
        print(printable(describe(index, args.split, problem)), end="\n\n")


def describe(index: int, split: str, problem: Problem) -> str:
    facts = {"fields": problem.fields, "answer": problem.answer, "metadata": problem.metadata}
    lines = [f"--- {problem.env} {split} {index}: {problem.key}"]
    lines += [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in facts.items()]
    return "\n".join([*lines, "prompt:", str(problem.prompt)])


if __name__ == "__main__":
    main()
