"""The code that the documentation shows is run."""

import re
import sys
import types
from pathlib import Path

import pytest

from grpo.types import Problem
from rewards import components
from rewards.components import Scored
from rewards.tags import read_tags
from rewards.verdict import CORRECT

BLOCKS = re.findall(r"```python\n(.*?)```", Path("docs/extending.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def shown(monkeypatch):
    """A module made of the nth block of docs/extending.md, with the names of rewards/components.py."""

    def load(place):
        module = types.ModuleType(f"shown_{place}")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        vars(module)["Scored"] = components.Scored
        exec(BLOCKS[place], vars(module))  # noqa: S102 - our own documentation
        return module

    return load


def test_the_component_of_the_documentation_works(shown):
    text = "so </think><answer>7</answer>"
    assert shown(0).concise(Scored(text, read_tags(text), CORRECT, 3, "en", 100, 10)) == 1.0


def test_the_task_of_the_documentation_works(shown):
    env = shown(1).Gcd()
    problems = [env.problem(0, "train", i) for i in range(200)]
    held_out = env.eval_set(50)
    assert all(isinstance(p, Problem) and env.check(p, p.answer).correct for p in problems)
    assert not {p.key for p in problems} & {p.key for p in held_out}
    assert env.read({"a": 12, "b": 18}).answer == "6"
