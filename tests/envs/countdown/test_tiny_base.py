from envs.countdown.checker import check
from envs.countdown.corpus import drills, tiny_countdown, traces
from envs.countdown.task import sorted_text
from envs.countdown.trace import read_tries
from envs.splits import split_of
from rewards.tags import read_tags
from tools.tiny_base.__main__ import blank_tokenizer
from tools.tiny_base.skills import BOUNDS, countdown_skills


def test_the_shipped_base_is_a_proper_base():
    skills = countdown_skills("envs/countdown/models/tiny", num_problems=512, samples=2)
    assert [bound.skill for bound in BOUNDS["countdown"] if not bound.holds(skills)] == [], skills


def test_traces_are_true_and_stop_at_the_first_hit():
    env = tiny_countdown()
    for index, row in enumerate(traces(500, seed=3)):
        problem = env.problem(3, "train", index)
        numbers, target = problem.fields["numbers"], problem.fields["target"]
        tries = read_tries(row["completion"], numbers)
        assert split_of(sorted_text(numbers)) == "train" and row["prompt"] == problem.prompt
        assert all(one.copied and one.arithmetic for one in tries)
        assert [one.verdict == "yes" for one in tries] == [one.value == target for one in tries]
        assert all(one.value != target for one in tries[:-1])
        parts = read_tags(row["completion"])
        assert parts.ordered and check(parts.answer, numbers, target).correct == (tries[-1].value == target)


def test_about_a_quarter_of_the_traces_hit_and_the_rest_give_up():
    hits = [" yes" in row["completion"] for row in traces(1000, seed=4)]
    assert 0.2 < sum(hits) / 1000 < 0.35


def test_the_tokenizer_gives_back_the_very_text():
    tokenizer = blank_tokenizer("countdown")
    rows = [*traces(100, seed=5), *drills(20, seed=5)]
    for row in rows:
        text = row["prompt"] + row["completion"]
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
