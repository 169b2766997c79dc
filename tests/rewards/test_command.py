import json
import subprocess
import sys

import pytest

from conf.compose import compose_config


def score(lines, *arguments):
    command = [sys.executable, "-m", "rewards", "score", *arguments]
    done = subprocess.run(command, input="\n".join(lines), text=True, capture_output=True, timeout=120, check=False)
    return [json.loads(line) for line in done.stdout.splitlines()], done


def test_each_line_gets_a_result_in_order_and_malformed_lines_a_reason():
    lines = [
        json.dumps({"completion": "so </think> <answer>$1,018.00</answer>", "answer": "10 * 100 + 18\n#### 1,018"}),
        "not json",
        json.dumps({"completion": "so </think> <answer>17</answer>", "answer": 18}),
        json.dumps({"completion": "18", "answer": "18"}),
        json.dumps({"completion": "18"}),
    ]
    found, done = score(lines, "--env", "gsm8k", "--reward", "r1_zero")
    assert [line["correct"] for line in found] == [True, False, False, False, False]
    assert [line["reward"] for line in found] == [2.0, 0.0, 1.0, 0.0, 0.0]
    assert found[0]["components"] == {"correct": 1.0, "format": 1.0}
    assert [line["reason"] for line in found[1:]] == [
        "line 2: not JSON",
        "is 17, not 18",
        "no answer",
        "line 5: no field answer",
    ]
    assert done.returncode == 1 and done.stderr == ""


@pytest.mark.parametrize(
    ("env", "record"),
    [
        ("countdown", {"completion": "x</think><answer>(1+2)*3</answer>", "numbers": [1, 2, 3], "target": 9}),
        ("countdown", {"completion": "x</think><answer>(1+2)*3</answer>", "answer": "3 * (2 + 1)"}),
        ("multiplication", {"completion": "x</think><answer>56,088</answer>", "a": 123, "b": 456}),
        ("math", {"completion": r"x</think><answer>\frac{2}{4}</answer>", "answer": r"\frac{1}{2}"}),
    ],
)
def test_every_task_reads_its_own_fields(env, record):
    needed = ["env.path=unread"] if env == "math" else []
    found, done = score([json.dumps(record)], "--env", env, "--reward", "strict", *needed)
    assert [line["reward"] for line in found] == [1.0] and done.returncode == 0


def test_rows_of_a_run_s_samples_are_scored_again():
    row = {
        "completion": "x</think><answer>(1+2)*3</answer>",
        "answer": "",
        "fields": {"numbers": [1, 2, 3], "target": 9},
    }
    kinds = row | {"env": "countdown_medium"}
    assert score([json.dumps(row)], "--reward", "strict")[0][0]["reward"] == 1.0
    known = compose_config(["env=countdown_kinds"]).env.parts.values()
    assert kinds["env"] in [part.name for part in known]
    assert score([json.dumps(kinds)], "--env", "countdown_kinds", "--reward", "strict")[0][0]["reward"] == 1.0


def test_invalid_utf8_is_scored():
    lines = ['{"completion": "</think><answer>\\ud800</answer>", "numbers": [1, 2], "target": 3}', "\udcff\udcfe"]
    command = [sys.executable, "-m", "rewards", "score"]
    sent = "\n".join(lines).encode("utf-8", "surrogateescape")
    done = subprocess.run(command, input=sent, capture_output=True, timeout=120, check=False)
    reasons = [json.loads(line)["reason"] for line in done.stdout.splitlines()]
    assert reasons == ["unexpected '\\ud800'", "line 2: not JSON"]


def test_a_byte_order_mark_on_standard_input_is_ignored():
    line = json.dumps({"completion": "x</think><answer>3</answer>", "answer": "3"})
    command = [sys.executable, "-m", "rewards", "score", "--env", "gsm8k"]
    done = subprocess.run(command, input=b"\xef\xbb\xbf" + line.encode(), capture_output=True, timeout=120, check=False)
    assert json.loads(done.stdout)["correct"] is True and done.returncode == 0


def test_an_unknown_task_is_rejected():
    _, done = score([], "--env", "chess")
    assert done.returncode == 2 and done.stderr.startswith("error: env=chess: unknown; allowed are code, countdown")


def test_sample_prints_problems_with_their_prompts():
    command = [sys.executable, "-m", "envs", "sample", "--env", "countdown", "-n", "2", "--split", "test"]
    shown = subprocess.run(command, text=True, capture_output=True, timeout=120, check=True).stdout
    assert shown.count("--- countdown test") == 2 and shown.count("Assistant: Let me solve this step by step.") == 2
