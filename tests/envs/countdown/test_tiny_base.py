from envs.countdown.checker import check
from envs.countdown.corpus import drills, tiny_countdown, traces
from envs.countdown.task import sorted_text
from envs.countdown.trace import read_trace
from envs.equations import end_of_thought
from envs.splits import split_of
from rewards.tags import read_tags
from tools.tiny_base.__main__ import blank_tokenizer
from tools.tiny_base.skills import BOUNDS, countdown_skills


def test_the_shipped_base_has_the_required_skills():
    skills = countdown_skills("envs/countdown/models/tiny", num_problems=512, samples=2)
    assert [bound.skill for bound in BOUNDS["countdown"] if not bound.holds(skills)] == [], skills


def test_traces_are_correct_and_stop_at_the_first_hit():
    env = tiny_countdown()
    for index, row in enumerate(traces(500, seed=3)):
        problem = env.problem(3, "train", index)
        numbers, target = problem.fields["numbers"], problem.fields["target"]
        attempts = read_trace(row["completion"][: end_of_thought(row["completion"])], numbers, target).attempts
        assert split_of(sorted_text(numbers)) == "train" and row["prompt"] == problem.prompt
        assert all(attempt.copied and attempt.arithmetic for attempt in attempts)
        assert [attempt.last_verdict == "yes" for attempt in attempts] == [a.value == target for a in attempts]
        assert all(attempt.value != target for attempt in attempts[:-1])
        parts = read_tags(row["completion"])
        assert parts.ordered and check(parts.answer, numbers, target).correct == (attempts[-1].value == target)


def test_about_a_quarter_of_the_traces_reach_the_target():
    hits = [" yes" in row["completion"] for row in traces(1000, seed=4)]
    assert 0.2 < sum(hits) / 1000 < 0.35


def test_the_tokenizer_restores_the_exact_text():
    tokenizer = blank_tokenizer("countdown")
    rows = [*traces(100, seed=5), *drills(20, seed=5)]
    for row in rows:
        text = row["prompt"] + row["completion"]
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
