import pytest

from envs.countdown.corpus import tiny_countdown
from envs.countdown.task import Countdown
from envs.mixed import Mixed
from envs.multiplication.task import Multiplication
from grpo.types import Chat, Problem
from pipelines.data_card import COLUMNS
from pipelines.traces import (
    draw_problems,
    in_style,
    prompt_styles,
    refuse_held_out,
    restyled,
    rewritten,
    traces_of,
)

PROBLEM = Problem("toy", "a", "p\n<think>\n", "5", {"numbers": [2, 3]})
CHAT = Chat("You solve.", "2 + 3?", "Let me solve.\n<think>")


def sampled(*correct, chosen=0):
    candidates = [
        {
            "text": f" so {index}\n</think> <answer> 5 </answer>",
            "answer": "5",
            "correct": is_correct,
            "reason": "",
            "error": None,
            "tokens": 7 + index,
            "logprob": -1.0,
            "finish_reason": "length" if index == 1 else "stop",
        }
        for index, is_correct in enumerate(correct)
    ]
    row = {"key": "a", "correct": correct[chosen], "chosen": chosen, "tokens": 30, "rounds": 1, "details": {}}
    return row | {"candidates": candidates}


def test_all_independent_samples_are_traces():
    found = traces_of(PROBLEM, sampled(True, False, True, False), independent=True)
    assert [one.correct for one in found] == [True, False, True, False]
    assert [one.truncated for one in found] == [False, True, False, False]
    assert {one.difficulty for one in found} == {0.5} and [one.sample for one in found] == [0, 1, 2, 3]


def test_of_other_strategies_the_chosen_candidate_is_the_trace():
    [found] = traces_of(PROBLEM, sampled(False, False, True, chosen=2), independent=False)
    assert found.completion.startswith(" so 2") and found.correct and found.tokens == 9


def test_a_row_has_the_documented_columns():
    [found] = traces_of(PROBLEM, sampled(True), independent=True)
    assert list(found.row) == list(COLUMNS)
    assert found.row["prompt"] == PROBLEM.prompt and found.row["problem"] == {"numbers": [2, 3]}


def test_a_chat_prompt_becomes_messages_that_the_completion_continues():
    [found] = in_style(traces_of(PROBLEM, sampled(True), True), {"a": Problem("toy", "a", CHAT, "5", {})})
    assert found.row["prompt"] == [
        {"role": "system", "content": "You solve."},
        {"role": "user", "content": "2 + 3?"},
        {"role": "assistant", "content": "Let me solve.\n<think>"},
    ]
    # The tiny prompt ends with a line break after the opening tag, which the chat prompt lacks.
    assert found.completion == "\n so 0\n</think> <answer> 5 </answer>"


def test_the_line_break_after_the_opening_tag_is_written_once():
    assert rewritten(" so", "p\n<think>\n", "q\n<think>\n") == " so"
    assert rewritten("\nso", CHAT, "q\n<think>\n") == "so"
    assert rewritten(" so", CHAT, "q\n<think>\n") == " so"
    assert rewritten(" so", CHAT, "q <think>") == " so"


def test_problems_are_different_and_more_of_them_begin_with_the_same_ones():
    env = Countdown(num_numbers=[2], max_number=9)
    problems = draw_problems(env, 7, 40)
    assert len({problem.key for problem in problems}) == 40
    assert draw_problems(env, 7, 20) == problems[:20] and draw_problems(env, 8, 20) != problems[:20]
    with pytest.raises(ValueError, match="num_problems=400: env countdown has only about"):
        draw_problems(Countdown(num_numbers=[2], max_number=3), 0, 400)


def test_a_held_out_problem_is_refused_by_its_key():
    env = tiny_countdown()
    held_out = env.eval_set(64)
    refuse_held_out(draw_problems(env, 0, 64), held_out)
    with pytest.raises(ValueError) as error:
        refuse_held_out([*draw_problems(env, 0, 4), held_out[9]], held_out)
    assert repr(held_out[9].key) in str(error.value)


def test_a_task_asks_the_same_problems_in_another_style():
    env = tiny_countdown()
    written = draw_problems(restyled(env, "chat"), 3, 10)
    assert [problem.key for problem in written] == [problem.key for problem in draw_problems(env, 3, 10)]
    assert all(isinstance(problem.prompt, Chat) for problem in written)


def test_every_task_of_a_mix_is_restyled():
    parts = {"countdown": tiny_countdown(), "multiplication": Multiplication(prompt_style="base")}
    env = Mixed(parts, {"countdown": 1.0, "multiplication": 1.0})
    assert prompt_styles(env) == {"countdown": "tiny", "multiplication": "base"}
    assert prompt_styles(restyled(env, "chat")) == {"countdown": "chat", "multiplication": "chat"}
    assert prompt_styles(tiny_countdown()) == {"countdown": "tiny"}
