"""The rules that detect reasoning behaviours in a countdown completion."""

from collections.abc import Sequence
from itertools import pairwise

from envs.behaviors import Behaviors
from envs.countdown.trace import read_trace
from envs.equations import end_of_thought
from envs.words import read_words


def read_countdown_behaviors(text: str, numbers: Sequence[int], target: int) -> Behaviors:
    """Detect the behaviours of a completion to a problem with these numbers and this target.

    verification       a value is compared with the target right after it was computed, by the tiny model's low,
                       high and yes or by words like "too small", "not equal to 98", "this works"; or a word of
                       checking stands right before an equation
    backtracking       an attempt that misses the target is followed by a different one; or words
    subgoals           an attempt uses, in a later equation, a value that it computed; or "first ... get ..."
    backward_chaining  a true equation starts from the target, which is not a given number, and removes given
                       numbers from it (`35 - 17 = 18`); its result is then computed from exactly the remaining
                       numbers, or is the one remaining number. Or it removes the value that an attempt has
                       computed and yields the number that the attempt has not used yet; or words
    """
    thought = text[: end_of_thought(text)]
    words, trace = read_words(thought), read_trace(thought, numbers, target)
    attempts = trace.attempts
    hits = [attempt.hits(target) for attempt in attempts]
    missed = [not hit and not attempt.met for hit, attempt in zip(hits, attempts)]
    gave_up = any(miss and now.steps != after.steps for miss, (now, after) in zip(missed, pairwise(attempts)))
    claims_hit = [attempt.last_verdict == "yes" for attempt in attempts]
    return Behaviors(
        verification=any(attempt.verdicts for attempt in attempts)
        or words.announce([equation.start for equation in trace.equations]),
        backtracking=gave_up or words.backtracking,
        subgoals=any(attempt.subgoal for attempt in attempts) or words.subgoals,
        backward_chaining=trace.worked_back or words.backward_chaining,
        keywords=words.keywords,
        waits=words.waits,
        equations=len(trace.equations),
        true_equations=sum(equation.is_true for equation in trace.equations),
        tries=len(attempts),
        copied=sum(attempt.copied for attempt in attempts),
        verdicts_yes=sum(claims_hit),
        decorative=sum(claim and not hit for claim, hit in zip(claims_hit, hits)),
    )
