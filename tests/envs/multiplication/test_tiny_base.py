import re

import pytest

from envs.multiplication.corpus import (
    LARGEST_TOTAL,
    drills,
    parts,
    tiny_multiplication,
    trace,
    traces,
)
from envs.multiplication.task import sorted_pair
from envs.multiplication.trace import is_true, read_trace
from envs.splits import split_of
from rewards.tags import read_tags
from tests.conf.test_conf import composed
from tools.tiny_base.bases import BASES
from tools.tiny_base.skills import BOUNDS, multiplication_skills

WHOLE = """40 * 30 = 1200
40 * 8 = 320, 1200 + 320 = 1520
7 * 30 = 210, 1520 + 210 = 1730
7 * 8 = 56, 1730 + 56 = 1786
</think> <answer> 1786 </answer>"""


def test_the_shipped_base_has_the_required_skills():
    skills = multiplication_skills("envs/multiplication/models/tiny-multiplication", num_problems=512, samples=2)
    assert [bound.skill for bound in BOUNDS["tiny-multiplication"] if not bound.holds(skills)] == [], skills


def test_the_corpus_uses_the_settings_of_the_tiny_model():
    cfg = composed("env=multiplication")
    assert cfg.env == tiny_multiplication() and cfg.model.path == "envs/multiplication/models/tiny-multiplication"


def test_traces_are_correct_and_answer_with_their_total():
    env = tiny_multiplication()
    for index, row in enumerate(traces(500, seed=3)):
        problem = env.problem(3, "train", index)
        a, b = problem.fields["a"], problem.fields["b"]
        read, tags = read_trace(row["completion"], a, b), read_tags(row["completion"])
        assert row["prompt"] == problem.prompt and tags.ordered and tags.answer == str(read.total)
        assert all(line.copied and all(map(is_true, line.equations)) for line in read.lines)
        assert env.check(problem, tags.answer).correct == read.finished == (len(read.lines) == len(parts(a, b)))


def test_about_a_quarter_of_the_traces_finish():
    env = tiny_multiplication()
    rows = list(traces(2000, seed=4))
    fields = [env.problem(4, "train", index).fields for index in range(2000)]
    finished = [read_trace(row["completion"], f["a"], f["b"]).finished for row, f in zip(rows, fields)]
    assert 0.15 < sum(finished) / 2000 < 0.30


@pytest.mark.parametrize("seed", [0, 1])
def test_no_held_out_problem_occurs_in_the_corpus_nor_in_its_equations(seed):
    held_out = {problem.key for problem in tiny_multiplication().eval_set(1500)}
    texts = [row["prompt"] + row["completion"] for row in (*traces(3000, seed), *drills(1000, seed))]
    pairs = {sorted_pair(int(a), int(b)) for text in texts for a, b in re.findall(r"(\d+) \* (\d+)", text)}
    assert len(pairs) > 2000 and not pairs & held_out
    prompts = {sorted_pair(int(a), int(b)) for text in texts for a, b in re.findall(r"^(\d+) \* (\d+)\n<", text)}
    assert all(split_of(pair) == "train" for pair in prompts)


def test_drills_are_correct_and_stay_in_the_range_of_traces():
    for row in drills(200, seed=5):
        equations = [e for line in read_trace(row["completion"], 11, 11).lines for e in line.equations]
        assert len(equations) == 16 and all(map(is_true, equations))
        assert all(value <= LARGEST_TOTAL for _, _, _, value in equations)


def test_the_tokenizer_restores_the_exact_text_with_one_token_per_digit():
    tokenizer = BASES["tiny-multiplication"].tokenizer()
    for row in [*traces(100, seed=5), *drills(20, seed=5)]:
        text = row["prompt"] + row["completion"]
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert len(tokenizer("47 * 38\n<think>\n")["input_ids"]) == 8


def test_the_blank_model_is_small_enough_to_ship():
    assert BASES["tiny-multiplication"].blank_model().num_parameters() < 700_000


class Patient:
    """Replaces random.Random so that a trace computes all parts."""

    @staticmethod
    def choices(population: list, weights: list) -> list:
        return [population[-1]]


def test_a_complete_trace_by_hand():
    assert parts(305, 7) == [(300, 7), (5, 7)]
    assert trace(47, 38, Patient()) == WHOLE
    read = read_trace(WHOLE, 47, 38)
    assert read.finished and read.total == 1786 and len(read.lines) == 4


def test_repeated_parts_lost_totals_and_false_sums_are_detected():
    again = read_trace("40 * 30 = 1200\n40 * 30 = 1200, 1200 + 1200 = 2400\n", 47, 38)
    assert [line.copied for line in again.lines] == [True, False] and not again.finished
    lost = read_trace("40 * 30 = 1200\n40 * 8 = 320, 1300 + 320 = 1620\n", 47, 38)
    assert [line.copied for line in lost.lines] == [True, False]
    false = read_trace("40 * 30 = 1200\n40 * 8 = 320, 1200 + 320 = 1530\n", 47, 38)
    assert [line.copied for line in false.lines] == [True, True]
    assert [is_true(equation) for equation in false.lines[1].equations] == [True, False]
    assert read_trace("nothing here", 47, 38).lines == ()
