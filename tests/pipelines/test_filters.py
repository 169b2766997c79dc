"""Each filter on traces worked by hand."""

import pytest

from conf.traces import FILTERS, ThresholdConfig
from grpo.types import Problem
from pipelines.filters import (
    OF_A_SET,
    OF_A_TRACE,
    apply_filters,
    longest_run,
    other_script_share,
    symbol_share,
)
from pipelines.traces import Trace

ENDING = "</think> <answer> 5 </answer>"


def trace(
    thought="so 2 + 3", ending=ENDING, key="a", tokens=9, correct=True, truncated=False, difficulty=1.0, sample=0
):
    problem = Problem("toy", key, "p\n<think>\n", "5", {})
    return Trace(problem, thought + ending, tokens, correct, truncated, difficulty, sample)


def passes(name, tested, **thresholds):
    return OF_A_TRACE[name](tested, ThresholdConfig(**thresholds))


def kept(name, traces, **thresholds):
    return OF_A_SET[name](traces, ThresholdConfig(**thresholds))


def test_the_settings_name_exactly_the_filters_that_exist():
    assert set(FILTERS) == set(OF_A_TRACE) | set(OF_A_SET)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("correct", trace(), trace(correct=False)),
        ("not_truncated", trace(), trace(truncated=True)),
        ("format", trace(), trace(ending="</think> 5")),
        ("format", trace(), trace(ending="</think> <answer> </answer>")),
        ("format", trace(), trace(thought=" \n")),
        ("format", trace(), trace(ending=ENDING + ENDING)),
        # 1 of 3 words is in the target language.
        ("language", trace("one two three"), trace("one 二 три")),
        # Numbers and signs are no words.
        ("language", trace("2 + 3 = 5"), trace("二 + 3 = 5")),
        # 6 runs of 4 words, of which 3 are different: 3/6 repeat. One more word makes it 4 of 7.
        ("not_repetitive", trace("a b c a b c a b c"), trace("a b c a b c a b c a")),
        # 2 of 20 letters are Cyrillic; 3 of 21 are more than a tenth.
        ("readable", trace("a" * 9 + " " + "b" * 9 + "да"), trace("a" * 9 + " " + "b" * 9 + "дам")),
        ("readable", trace("ab" * 1000), trace("ab" * 1000 + "c")),
        ("readable", trace("word\n" * 3000), trace("word " * 500)),
        ("readable", trace("so" + "\n" * 20), trace("so" + "\n" * 21)),
        ("readable", trace("0" * 20), trace("0" * 21)),
        ("readable", trace("so" + " " * 50), trace("so" + "." * 21)),
        # 1 of 20 characters is a symbol; then 2 of 20.
        ("readable", trace("it is 5, so I go on✓"), trace("it is 5, so I go o✓✓")),
        ("readable", trace("2 ^ 3 ≤ 8 € × ÷ `x`"), trace("\ufffd\ufffd so")),
        ("readable", trace("use `x`"), trace("use\n```\nx\n```")),
    ],
)
def test_filters_of_a_trace(name, good, bad):
    assert passes(name, good) and not passes(name, bad)


def test_only_the_thought_is_read_for_language_and_readability():
    written = trace(ending="</think> <answer> ответ ``` </answer>")
    assert passes("language", written) and passes("readable", written)


def test_the_target_language_is_a_threshold():
    assert passes("language", trace("二 三"), language="zh") and not passes("language", trace("two"), language="zh")
    assert passes("language", trace("one 二"), min_language_share=0.5)


def test_shares_and_runs():
    assert other_script_share("abc да 12") == pytest.approx(2 / 5)
    assert other_script_share("12 + 3") == 0.0
    assert longest_run("aabbbb c") == 4 and longest_run("      ") == 0 and longest_run("") == 0
    assert symbol_share("✓ab\x00") == 0.5 and symbol_share("a\n\tb\u00a0") == 0.0 and symbol_share("") == 0.0


def test_duplicates_of_a_problem_are_equal_up_to_whitespace():
    traces = [trace("2 + 3"), trace("2  +\n3"), trace("3 + 2"), trace("2 + 3", key="b"), trace("2 + 3")]
    assert kept("no_duplicates", traces) == [0, 2, 3]


def test_at_most_k_traces_of_a_problem_are_kept():
    assert kept("at_most_k", [trace(key=key) for key in "aababb"], k=2) == [0, 1, 2, 4]


def test_bins_are_balanced_to_the_smallest():
    # With 4 bins: 0.1 is in the first, 0.25 in the second, 1.0 in the last; the third is empty.
    shares = [1.0, 0.1, 1.0, 0.25, 0.2, 0.3, 0.9]
    assert kept("balanced", [trace(difficulty=share) for share in shares], bins=4) == [0, 1, 2, 3, 4, 5]
    assert kept("balanced", [], bins=4) == []


def test_bins_are_cut_to_a_number_of_rows():
    # Bins of 1, 2 and 4 traces. 5 rows are 1, 2 and 2; of 6, the last bin has 3; of 2, the hardest come first.
    shares = [0.1] + [0.6] * 2 + [0.9] * 4
    traces = [trace(difficulty=share) for share in shares]
    assert kept("balanced", traces, bins=4, max_rows=5) == [0, 1, 2, 3, 4]
    assert kept("balanced", traces, bins=4, max_rows=6) == [0, 1, 2, 3, 4, 5]
    assert kept("balanced", traces, bins=4, max_rows=2) == [0, 1]
    assert kept("balanced", traces, bins=4, max_rows=99) == list(range(7))


def test_the_first_rows_are_kept():
    assert kept("first_rows", [trace()] * 3, max_rows=2) == [0, 1]
    assert kept("first_rows", [trace()] * 3) == [0, 1, 2]


def test_filters_apply_in_order_and_count():
    traces = [
        trace("one", sample=0),
        trace("wrong", correct=False, sample=1),
        trace("one", sample=2),
        trace("два", sample=3),
        trace("two", sample=4),
    ]
    found = apply_filters(traces, ["correct", "at_most_k", "language"], ThresholdConfig(k=3))
    assert [one.sample for one in found.kept] == [0, 2]
    assert [(name, one.sample) for name, one in found.rejected] == [("correct", 1), ("at_most_k", 4), ("language", 3)]
    assert found.counts == [("correct", 5, 4), ("at_most_k", 4, 3), ("language", 3, 2)]
    # In another order the duplicate and the other script free places for the last trace.
    found = apply_filters(traces, ["language", "no_duplicates", "at_most_k"], ThresholdConfig(k=3))
    assert [one.sample for one in found.kept] == [0, 1, 4]
    assert apply_filters(traces, [], ThresholdConfig()).kept == traces
