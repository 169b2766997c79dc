import json
import logging
import os
from pathlib import Path

import pytest

from conf.compose import compose_config
from envs.questions.task import Questions, canonical
from grpo.types import Chat

SAMPLE = "envs/questions/samples/gsm8k"
WHOLE = os.environ.get("AHAZERO_GSM8K", "")


def gsm8k(path=SAMPLE, **settings):
    return Questions("gsm8k", path=str(path), answer_marker="####", **settings)


def write(path, rows):
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n")
    return path


def test_every_reference_answer_of_the_sample_is_correct():
    env = gsm8k()
    problems = env.problems("train") + env.problems("test")
    assert [p.answer for p in problems] == ["15", "30", "288", "36", "1040", "-5", "80", "45", "60"]
    assert all(env.check(p, p.answer).correct and not env.check(p, p.answer + "1").correct for p in problems)
    assert problems[0].metadata == {"difficulty": 2}


@pytest.mark.skipif(not WHOLE, reason="AHAZERO_GSM8K is not set to a folder with the real data")
def test_every_reference_answer_of_gsm8k_is_correct(caplog):
    env = gsm8k(WHOLE)
    assert (len(env.problems("train")), len(env.problems("test"))) == (7473, 1319)
    assert all(env.check(p, p.answer).correct for split in ("train", "test") for p in env.problems(split))
    golds = [
        json.loads(line)["answer"].rpartition("####")[2].strip()
        for split in ("train", "test")
        for line in Path(WHOLE, f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert len(golds) == 8792 and all(env.check(env.read({"answer": gold}), gold).correct for gold in golds)
    assert caplog.text == ""


def test_each_epoch_contains_every_problem_once_in_its_own_order():
    env = gsm8k()
    first, second = ([env.problem(0, "train", i).key for i in range(start, start + 6)] for start in (0, 6))
    assert len(set(first)) == 6 and set(first) == set(second) and first != second
    assert first == [env.problem(0, "train", i).key for i in range(6)]


def test_a_held_out_question_is_removed_from_training_in_any_spelling(tmp_path):
    write(tmp_path / "test.jsonl", [{"question": "How many are 2 apples?", "answer": "#### 2"}])
    rows = [{"question": "how many are 2  Apples", "answer": "#### 2"}, {"question": "And 3?", "answer": "#### 3"}]
    write(tmp_path / "train.jsonl", [*rows, rows[1]])
    assert [p.answer for p in gsm8k(tmp_path).problems("train")] == ["3"]


def test_a_single_file_is_split_into_disjoint_parts(tmp_path):
    path = write(tmp_path / "all.jsonl", [{"problem": f"What is {i} + 1?", "answer": str(i + 1)} for i in range(200)])
    env = Questions("math", path=str(path), question_field="problem", grader="latex")
    train, test = ({p.key for p in env.problems(split)} for split in ("train", "test"))
    assert not train & test and len(train | test) == 200 and 20 < len(test) < 60


def test_a_whole_file_can_be_held_out(tmp_path):
    path = write(tmp_path / "all.jsonl", [{"problem": f"What is {i} + 1?", "answer": str(i + 1)} for i in range(20)])
    env = compose_config(["model=smollm2-135m", "env=jsonl", f"env.path={path}", "env.eval_fraction=1"]).env
    assert len(env.eval_set(20)) == 20 and env.problems("train") == ()
    assert env.check(env.eval_set(20)[0], f"It is ${env.eval_set(20)[0].answer}.00").correct


def test_malformed_lines_are_reported_by_number(tmp_path, caplog):
    good = {"question": "And 3?", "answer": "#### 3"}
    write(tmp_path / "test.jsonl", [{"question": "Two?", "answer": "2"}])
    rows = [good, "{broken", "[1]", {"answer": "#### 4"}, {"question": "x"}, {"question": "y", "answer": "#### few"}]
    write(tmp_path / "train.jsonl", rows)
    with caplog.at_level(logging.WARNING):
        assert len(gsm8k(tmp_path).problems("train")) == 1
    for said in (
        "skipped 5 of 6 records",
        "line 2: not JSON",
        "line 3: not a JSON object",
        "line 4: no field question",
    ):
        assert said in caplog.text
    assert "line 5: no field answer" in caplog.text and "line 6: field answer: contains no number" in caplog.text


def test_duplicates_are_left_out_with_a_warning(tmp_path, caplog):
    rows = [{"question": question, "answer": "#### 3"} for question in ("And 3?", "and 3", "How many?", "5!", "5")]
    write(tmp_path / "all.jsonl", rows)
    write(tmp_path / "train.jsonl", rows)
    write(tmp_path / "test.jsonl", rows[2:3])
    for path, remain, left_out in (("all.jsonl", 4, "1 of 5"), ("", 4, "2 of 6")):
        caplog.clear()
        env = gsm8k(tmp_path / path)
        assert [len(env.problems("train")) + len(env.problems("test")) for _ in range(2)] == [remain] * 2
        (record,) = caplog.records
        assert record.getMessage() == f"{tmp_path / path}: left out {left_out} problems, which occur more than once"


def test_a_missing_folder_and_too_many_problems_are_rejected(tmp_path):
    with pytest.raises(ValueError, match="env.path: there is no file"):
        gsm8k(tmp_path / "nowhere").eval_set(1)
    with pytest.raises(ValueError, match="num_problems=4: env gsm8k has only 3 held-out problems"):
        gsm8k().eval_set(4)
    with pytest.raises(ValueError, match="env.grader must be one of number, latex, got llm"):
        gsm8k(grader="llm")


def test_the_prompts_of_base_and_chat_models():
    base, chat = gsm8k().problem(0, "test", 0), gsm8k(prompt_style="chat").problem(0, "test", 0)
    question = base.fields["question"]
    assert f"User: {question} Show your work" in base.prompt and base.prompt.endswith("step by step.\n<think>")
    assert isinstance(chat.prompt, Chat) and chat.prompt.user.startswith(question)
    assert chat.prompt.assistant == "Let me solve this step by step.\n<think>"


def test_the_canonical_form_ignores_case_spacing_and_punctuation():
    assert canonical("How  many,\nBEES?") == canonical("how many bees")
    assert canonical("2 bees") != canonical("3 bees")
    assert canonical("A 3-year-old - yes, she!") == canonical("a 3 year old yes she")
    assert canonical("(A) Wow! He (the baker) has 12 (or 13) left...5? :)") == canonical(
        "a wow he the baker has 12 or 13 left 5"
    )
    assert canonical("Find f(x), (5), x^{2} and x^2.") == canonical("find f x 5, x^2, and x^(2)")
    assert canonical("x = .5") == canonical("x = 0.5")


@pytest.mark.parametrize(
    "different",
    [
        ["7 + 5", "7 - 5", "7 * 5", "7 / 5", "7/-5"],
        ["x^2-4=0", "x^2+4=0", "x^2-4<0"],
        ["What is 3/4?", "What is 3.4?", "What is 3, 4?"],
        ["What is (3 + 4) * 2?", "What is 3 + 4 * 2?", "What is 3 + (4 * 2)?"],
        ["What is 2 * (sin x + 1)?", "What is 2 * sin x + 1?"],
        ["What is (-3)^2?", "What is -3^2?", "What is 3^2?"],
        [r"$\frac{1}{2 x}$", r"$\frac{1}{2} x$", r"$-\frac{1}{2} x$"],
        ["2^{3+4}", "2^3+4"],
        ["integers in [0, 9)", "integers in (0, 9]", "integers in [0, 9]", "integers in (0, 9)"],
        ["What is 5!?", "What is 5!!?", "What is 5?"],
        ["(n + 1)!", "n + 1!", "n + 1", "(n! + 1)!"],
        ["Find |-3|.", "Find -3.", "Find 3.", "Find |3|."],
        ["20% of 50", "20 of 50"],
        ["x = .5", "x = 5", "x = -.5"],
        ["It was -5 degrees.", "It was +5 degrees.", "It was 5 degrees."],
        ["primes <10", "primes >10", "primes ≤10"],
        ["x ≤ 5", "x ≥ 5", "x ≠ 5", "x ± 5"],
    ],
)
def test_questions_that_differ_in_a_formula_are_different(different):
    assert len({canonical(question) for question in different}) == len(different)
