import time

import pytest

from envs.behaviors import read_text_behaviors
from envs.countdown.task import Countdown
from envs.multiplication.task import Multiplication
from envs.questions.task import Questions
from report.spans import read_spans


def test_tasks_without_a_trace_language_are_read_by_their_words():
    text = "First we find the cost: 3 * 4 = 12. Wait, let me check. 12 + 1 = 14. I should double-check and start over."
    shown = read_text_behaviors(text + "\n</think> <answer> 1 </answer>")
    assert shown.verification and shown.backtracking and shown.subgoals and shown.keywords and shown.waits
    assert not shown.backward_chaining and (shown.equations, shown.true_equations) == (2, 1)
    assert shown.shown == ["verification", "backtracking", "subgoals", "keywords", "waits"]


def test_equations_of_a_question_are_not_tries():
    env = Questions("gsm8k", path="unread")
    shown = env.read_behaviors(env.read({"answer": "13"}), "3 * 4 = 12\n12 + 1 = 13\n</think>")
    assert shown.tries is None and shown.equations == 2


HOSTILE = [
    "(" * 100_000,
    "1+" * 50_000,
    "1 + 1 = " * 12_500,
    "=" * 100_000,
    "1" * 100_000,
    "- " * 50_000,
    " " * 100_000,
]
HOSTILE += ["1 = 2 + " * 12_500, "check " * 16_000, "1 + 1 = 2 check " * 6_000, "not a " * 16_000, "first " * 16_000]
HOSTILE += [
    "35 - 1 = 34\n" * 8_000,
    "1 + 17 = 18 not not not not not\n" * 3_000,
    "<answer>" * 12_000,
    "\\times" * 16_000,
]
HOSTILE += [
    "İ" * 100_000,
    "٣ + ٣ = ٦ " * 10_000,
    "1,000" * 20_000,
    "let's " * 16_000,
    ". " * 50_000,
    "((1+2" * 20_000 + "= 3",
]


ENVS = {
    "countdown": (Countdown(), {"numbers": [1, 17, 17], "target": 35}),
    "multiplication": (Multiplication(), {"a": 47, "b": 38}),
    "gsm8k": (Questions("gsm8k", path="unread"), {"answer": "13"}),
}


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:12]))
@pytest.mark.parametrize("name", ENVS)
def test_hostile_text_takes_bounded_time(name, text):
    env, fields = ENVS[name]
    problem = env.read(fields)
    start = time.process_time()
    env.read_behaviors(problem, text)
    read_spans(problem.fields, text)
    assert time.process_time() - start < 2
