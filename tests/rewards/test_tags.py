import pytest

from rewards.tags import read_tags


def test_the_answer_between_the_tags():
    parts = read_tags("we try </think> <answer> 1 + 2 </answer>")
    assert parts.answer == "1 + 2" and parts.ordered


@pytest.mark.parametrize("ending", ["\n", "\n\n  ", "<|endoftext|>"])
def test_text_after_the_answer_changes_nothing(ending):
    assert read_tags(f"</think><answer>7</answer>{ending}").answer == "7"


def test_blank_lines_between_and_within_tags_are_allowed():
    parts = read_tags("a\n\n</think>\n\n<answer>\n7\n</answer>")
    assert parts.answer == "7" and parts.ordered


def test_the_last_answer_counts():
    parts = read_tags("<answer>1</answer> no, </think><answer>2</answer>")
    assert parts.answer == "2" and not parts.ordered


@pytest.mark.parametrize("text", ["the answer is 7", "</think><answer>7", "7</answer>", "<Answer>7</Answer>"])
def test_an_answer_outside_complete_tags_does_not_count(text):
    assert read_tags(text).answer is None


@pytest.mark.parametrize(
    "text",
    ["<answer>7</answer></think>", "<think>a</think><answer>7</answer>", "</think></think><answer>7</answer>"],
)
def test_repeated_tags_and_a_wrong_order_are_detected(text):
    assert not read_tags(text).ordered
