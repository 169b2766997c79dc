import random
import re

import pytest

from envs.countdown.behaviors import read_countdown_behaviors
from envs.countdown.checker import check
from envs.countdown.english import GIVING_UP, HIGH, HIT, JOINTS, LOW, OPENINGS, TURNS, search, trace, traces
from envs.countdown.task import Countdown, sorted_text
from envs.countdown.trace import read_trace
from envs.equations import end_of_thought
from envs.splits import split_of
from grpo.types import Chat, messages
from rewards.scripts import mixes_scripts
from rewards.tags import read_tags

SMALL = Countdown(num_numbers=[3], max_number=20, max_value=200, operations="+-*", prompt_style="chat")
LARGE = Countdown(num_numbers=[3, 4], prompt_style="base")


def attempts_of(text, fields):
    return read_trace(text[: end_of_thought(text)], fields["numbers"], fields["target"]).attempts


@pytest.mark.parametrize("env", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("solved", [True, False])
def test_a_trace_is_read_attempt_by_attempt(env, solved):
    for index in range(300):
        problem, rng = env.problem(1, "train", index), random.Random(index)
        drawn = search(env, problem, random.Random(index))
        text = trace(env, problem, rng, 4, solved)
        found = attempts_of(text, problem.fields)
        expected = [*drawn[:-1][:3], drawn[-1]] if solved else drawn[:4]
        assert [attempt.value for attempt in found] == [attempt.value for attempt in expected], text
        assert all(attempt.copied and attempt.arithmetic for attempt in found), text
        target = problem.fields["target"]
        verdicts = ["low" if a.value < target else "high" if a.value > target else "yes" for a in found]
        assert [[verdict.word for verdict in attempt.verdicts] for attempt in found] == [[v] for v in verdicts], text


def test_a_trace_verifies_backtracks_and_answers_with_its_last_attempt():
    hits = 0
    for index, row in enumerate(traces(SMALL, 300, seed=2, max_attempts=4)):
        fields = SMALL.problem(2, "train", index).fields
        shown = read_countdown_behaviors(row["completion"], fields["numbers"], fields["target"])
        parts = read_tags(row["completion"])
        correct = check(parts.answer, fields["numbers"], fields["target"]).correct
        assert shown.verification and shown.backtracking == (shown.tries > 1) and 1 <= shown.tries <= 4
        assert shown.verdicts_yes == correct and shown.decorative == 0 and not shown.backward_chaining
        assert parts.ordered and not mixes_scripts(parts.thought)
        assert correct != any(phrase in row["completion"] for phrase in GIVING_UP)
        hits += correct
    assert 150 < hits < 240


def test_every_phrase_occurs():
    text = "".join(row["completion"] for row in traces(SMALL, 1000, seed=3, max_attempts=4))
    for phrase in [*JOINTS, *LOW, *HIGH, *HIT, *TURNS, *GIVING_UP, *OPENINGS]:
        pattern = re.escape(phrase).replace(r"\{target\}", r"\d+").replace(r"\{numbers\}", r"[\d, ]+")
        assert re.search(pattern, text), phrase


def test_rows_name_a_training_problem_and_continue_its_prompt():
    (row,) = traces(SMALL, 1, seed=4, max_attempts=4)
    problem = SMALL.problem(4, "train", 0)
    assert row["key"] == problem.key and row["env"] == "countdown"
    assert split_of(sorted_text(problem.fields["numbers"])) == "train"
    assert [turn["role"] for turn in row["prompt"]] == ["system", "user", "assistant"]
    assert [turn["content"] for turn in row["prompt"]][1:] == [problem.prompt.user, problem.prompt.assistant]
    assert row["completion"].startswith("\n") and row["prompt"][-1]["content"].endswith("<think>")


def test_the_same_seed_gives_the_same_rows():
    assert list(traces(SMALL, 20, 5, 4)) == list(traces(SMALL, 20, 5, 4)) != list(traces(SMALL, 20, 6, 4))


def test_prompts_by_hand():
    assert messages("make 3 from 1 2\n<think>\n") == "make 3 from 1 2\n<think>\n"
    expected = [("system", "a"), ("user", "b"), ("assistant", "c")]
    assert messages(Chat("a", "b", "c")) == [{"role": role, "content": text} for role, text in expected]


def test_a_problem_without_a_solution_is_refused():
    with pytest.raises(ValueError, match=r"1 1 -> 50: no random attempt reaches the target"):
        search(SMALL, SMALL.read({"numbers": [1, 1], "target": 50}), random.Random(0))
