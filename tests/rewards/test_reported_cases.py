import json
from pathlib import Path

import pytest

from envs.code.task import Code
from envs.questions.task import Questions
from rewards.tags import read_tags

CASES = [json.loads(line) for line in Path(__file__).with_name("cases.jsonl").read_text(encoding="utf-8").splitlines()]


def env_of(name):
    if name == "code":
        return Code()
    grader = "latex" if name == "math" else "number"
    return Questions(name, path="unread", question_field="problem", grader=grader)


@pytest.mark.parametrize("case", CASES, ids=[f"{i}: {case['why']}" for i, case in enumerate(CASES)])
def test_answers_of_public_bug_reports_are_scored_correctly(case):
    env = env_of(case["env"])
    verdict = env.check(env.read(case["record"]), read_tags(case["record"]["completion"]).answer)
    assert verdict.correct is case["correct"], verdict.reason
