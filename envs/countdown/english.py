"""Countdown searches in plain English, for the supervised start of a pretrained language model.

A trace makes attempts until one reaches the target. It judges each attempt, turns to another one after a miss, and
answers with the expression of the hit:

    16 - 8 = 8, 8 * 4 = 32. That is too high.
    Let me try another way: 8 + 4 = 12, 16 - 12 = 4. This is less than 12.
    Try again: 16 - 8 = 8, 8 + 4 = 12. That works!
    </think> <answer> (16 - 8) + 4 </answer>

The wording varies from trace to trace. Attempts are drawn at random without repetition, so that the traces teach
arithmetic, verification and backtracking, and leave the choice of good attempts to reinforcement learning.
"""

import random
from collections.abc import Iterator
from typing import Any

from envs.countdown.task import Countdown, Derivation
from grpo.types import Chat, Problem

MAX_DRAWS = 10_000
# The text before the second and each further equation of an attempt.
JOINTS = [", ", ", then ", " and "]
LOW = [". That is too low.", ". That is too small.", ", which is too low.", ". This is less than {target}."]
HIGH = [". That is too high.", ". That is too big.", ", which is too high.", ". This is more than {target}."]
HIT = [". That works!", ". That is the target.", ", which equals {target}.", ". This is {target}, so it works."]
TURNS = ["Let me try another way: ", "Try again: ", "Let me try something else: ", "Let's try a different way: "]
OPENINGS = ["", "First try: ", "I need {target} from {numbers}.\n"]


def traces(env: Countdown, count: int, seed: int, max_attempts: int) -> Iterator[dict[str, Any]]:
    """Yield traces of training problems as rows of train_sft.py: `prompt`, `completion`, `key` and `env`.

    max_attempts  the largest number of attempts in a trace, >= 1; the number is drawn evenly from 1..max_attempts

    Raises:
        ValueError: no attempt reached the target of a problem within MAX_DRAWS draws.
    """
    for index in range(count):
        problem = env.problem(seed, "train", index)
        rng = random.Random(f"english/{seed}/{index}")
        completion = trace(env, problem, rng, rng.randint(1, max_attempts))
        yield {"prompt": messages(problem.prompt), "completion": completion, "key": problem.key, "env": problem.env}


def trace(env: Countdown, problem: Problem, rng: random.Random, attempts: int) -> str:
    """A completion with this number of attempts, or fewer if a hit was drawn earlier. The last attempt is a hit."""
    target, numbers = problem.fields["target"], problem.fields["numbers"]
    *misses, hit = search(env, problem, rng)
    joint, turn = rng.choice(JOINTS), rng.choice(TURNS)
    low, high = rng.choice(list(zip(LOW, HIGH)))
    lines = []
    for miss in misses[: attempts - 1]:
        lines.append(joint.join(map(str, miss.steps)) + (low if miss.value < target else high))
    lines.append(joint.join(map(str, hit.steps)) + rng.choice(HIT))
    opening = rng.choice(OPENINGS)
    text = opening + f"\n{turn}".join(lines) + f"\n</think> <answer> {hit.expression} </answer>"
    return "\n" + text.format(target=target, numbers=", ".join(map(str, numbers)))


def search(env: Countdown, problem: Problem, rng: random.Random) -> list[Derivation]:
    """Different random attempts at a problem, up to and including the first that reaches the target.

    Raises:
        ValueError: no attempt reached it within MAX_DRAWS draws.
    """
    found: dict[Any, Derivation] = {}
    for _ in range(MAX_DRAWS):
        attempt = env.draw_derivation(problem.fields["numbers"], rng)
        if attempt is None:
            continue
        found[attempt.steps] = attempt
        if attempt.value == problem.fields["target"]:
            return list(found.values())
    raise ValueError(f"{problem.key}: no random attempt reaches the target; use fewer numbers (env.num_numbers)")


def messages(prompt: str | Chat) -> str | list[dict[str, str]]:
    """A prompt as in the rows of train_sft.py. A chat ends with the assistant's message, which the completion
    continues."""
    if isinstance(prompt, str):
        return prompt
    turns = [("system", prompt.system), ("user", prompt.user), ("assistant", prompt.assistant)]
    return [{"role": role, "content": content} for role, content in turns]
