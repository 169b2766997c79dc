"""Countdown searches in plain English, for the supervised start of a pretrained language model.

A trace makes attempts, judges each of them, and turns to another one after a miss. It ends with the first hit, or gives
up and answers with its last attempt:

    16 - 8 = 8, 8 * 4 = 32. That is too high.
    Let me try another way: 8 + 4 = 12, 16 - 12 = 4. This is less than 12.
    Try again: 16 - 8 = 8, 8 + 4 = 12. That works!
    </think> <answer> (16 - 8) + 4 </answer>

The wording varies from trace to trace. Attempts are drawn at random without repetition, so that the traces teach
arithmetic, verification and backtracking. Persistence and the choice of good attempts are left to reinforcement
learning, as with the corpus of the tiny models (envs/countdown/corpus.py).
"""

import random
from collections.abc import Iterator
from typing import Any

from envs.countdown.task import Countdown, Derivation
from grpo.types import Problem, messages

MAX_DRAWS = 10_000
PERSISTENCE = 0.6  # the probability of another attempt after a miss
# The share of the traces whose last attempt is made a hit if none of their attempts reached the target by chance.
# Without it, few traces of a hard problem would show what a hit looks like.
SOLVED = 0.5
# The text before the second and each further equation of an attempt.
JOINTS = [", ", ", then ", " and "]
LOW = [". That is too low.", ". That is too small.", ", which is too low.", ". This is less than {target}."]
HIGH = [". That is too high.", ". That is too big.", ", which is too high.", ". This is more than {target}."]
HIT = [". That works!", ". That is the target.", ", which equals {target}.", ". This is {target}, so it works."]
TURNS = ["Let me try another way: ", "Try again: ", "Let me try something else: ", "Let's try a different way: "]
GIVING_UP = ["I give up.", "I can't find it.", "I have tried enough."]
OPENINGS = ["", "First try: ", "I need {target} from {numbers}.\n"]


def traces(env: Countdown, count: int, seed: int, max_attempts: int) -> Iterator[dict[str, Any]]:
    """Yield traces of training problems as rows of train_sft.py: `prompt`, `completion`, `key` and `env`.

    max_attempts  the largest number of attempts in a trace, >= 1

    Raises:
        ValueError: no attempt reached the target of a problem within MAX_DRAWS draws.
    """
    for index in range(count):
        problem = env.problem(seed, "train", index)
        rng = random.Random(f"english/{seed}/{index}")
        attempts = 1
        while attempts < max_attempts and rng.random() < PERSISTENCE:
            attempts += 1
        completion = trace(env, problem, rng, attempts, solved=rng.random() < SOLVED)
        yield {"prompt": messages(problem.prompt), "completion": completion, "key": problem.key, "env": problem.env}


def trace(env: Countdown, problem: Problem, rng: random.Random, attempts: int, solved: bool) -> str:
    """A completion with this number of attempts, or fewer if a hit was drawn earlier. If none was, the last attempt is
    a hit if `solved`, and a miss otherwise."""
    target, numbers = problem.fields["target"], problem.fields["numbers"]
    drawn = search(env, problem, rng)
    tried = drawn[:attempts] if not solved or len(drawn) <= attempts else [*drawn[: attempts - 1], drawn[-1]]
    joint, turn = rng.choice(JOINTS), rng.choice(TURNS)
    low, high = rng.choice(list(zip(LOW, HIGH)))
    lines = []
    for attempt in tried:
        verdict = rng.choice(HIT) if attempt.value == target else low if attempt.value < target else high
        lines.append(joint.join(map(str, attempt.steps)) + verdict)
    end = "" if tried[-1].value == target else f"\n{rng.choice(GIVING_UP)}"
    text = rng.choice(OPENINGS) + f"\n{turn}".join(lines) + f"{end}\n</think> <answer> {tried[-1].expression} </answer>"
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
