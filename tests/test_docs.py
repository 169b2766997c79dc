"""README.md and docs/: the code works, the commands are valid, and the files exist."""

import ast
import re
import shlex
import sys
import types
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from conf.compose import compose_config, compose_evaluation, compose_pipeline, compose_traces, compose_verifier
from grpo.grpo import normalize
from grpo.types import Problem, request_seed
from rewards import components
from rewards.components import Scored
from rewards.mix import COMPONENTS
from rewards.tags import read_tags
from rewards.verdict import CORRECT
from tools.sweep.plan import plan_sweep

PAGES = [Path("README.md"), *sorted(Path("docs").glob("*.md"))]
MAKE_TARGETS = set(re.findall(r"^([a-z0-9-]+):", Path("Makefile").read_text(encoding="utf-8"), re.MULTILINE))
ARCHITECTURE = Path("docs/architecture.md").read_text(encoding="utf-8")
CORE = re.findall(r"^\| `(\S+\.py)` \| (\d+) \|", ARCHITECTURE, re.MULTILINE)
CORE_LINES = 1500
PYTHON_BLOCKS = re.findall(r"```python\n(.*?)```", Path("docs/extending.md").read_text(encoding="utf-8"), re.DOTALL)
# Folders whose files the documentation names in backticks.
FOLDERS = "conf|docs|envs|grpo|inference|pipelines|report|rewards|run|tests|tools|workers"


def compose_either(overrides: list[str]) -> object:
    """The settings of a pipeline if one is named, otherwise those of a run."""
    of_pipeline = any(override.startswith("pipeline=") for override in overrides)
    return compose_pipeline(overrides) if of_pipeline else compose_config(overrides)


# What the targets do with their Hydra overrides, as in the Makefile.
COMPOSE: dict[str, Callable[[list[str]], object]] = {
    "train": compose_config,
    "plan": compose_either,
    "pipeline": compose_either,
    "doctor": compose_config,
    "sweep": plan_sweep,
    "eval": lambda overrides: compose_evaluation(overrides, {}),
    "traces": lambda overrides: compose_traces(overrides, {}),
    "verifier": lambda overrides: compose_verifier(overrides, {}),
}


@pytest.fixture
def documented_module(monkeypatch):
    """Loads the nth Python block of docs/extending.md as a module in which the name `Scored` is known."""

    def load(index):
        module = types.ModuleType(f"documented_{index}")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        vars(module)["Scored"] = components.Scored
        exec(PYTHON_BLOCKS[index], vars(module))  # noqa: S102 - our own documentation
        return module

    return load


def test_the_documented_reward_component_works(documented_module):
    text = "so </think><answer>7</answer>"
    assert documented_module(0).concise(Scored(text, read_tags(text), CORRECT, 3, "en", 100, 10)) == 1.0


def test_the_documented_task_works(documented_module):
    env = documented_module(1).Gcd()
    problems = [env.problem(0, "train", i) for i in range(200)]
    eval_problems = env.eval_set(50)
    assert all(isinstance(p, Problem) and env.check(p, p.answer).correct for p in problems)
    assert not {p.key for p in problems} & {p.key for p in eval_problems}
    assert env.read({"a": 12, "b": 18}).answer == "6"


def commands(page: Path) -> list[str]:
    """The page's shell commands, from its indented blocks and its inline code, one program call each."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^    (.*)$", text.replace("\\\n", " "), re.MULTILINE)
    inline = [code.replace("\n", " ") for code in re.findall(r"`([^`]+)`", text)]
    programs = r"(?:^|[;&|] *|\bdo )((?:make|(?:\S*/)?python -m) (?:\"[^\"]*\"|[^;&|<>#\"])+)"
    return [call.strip() for line in [*blocks, *inline] for call in re.findall(programs, line)]


def make_overrides(words: list[str]) -> list[str]:
    """The Hydra overrides that make passes on, with placeholders such as N or FOLDER replaced by 1."""
    variables = dict(word.split("=", 1) for word in words if re.match(r"[A-Z]+=", word))
    overrides = [f"{key.lower()}={variables[key]}" for key in ("PIPELINE", "MODEL", "ENV") if key in variables]
    if sweep := variables.get("SWEEP"):
        overrides += sweep.split() if "=" in sweep else [f"sweep={sweep}"]
    overrides += shlex.split(variables.get("ARGS", ""))
    complete = [override for override in overrides if "..." not in override and "$" not in override]
    return [re.sub(r"=[A-Z]+(\.[a-z]+)?$", "=1", override) for override in complete]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_make_command_has_a_target_and_settings_that_compose(page, documented_module, monkeypatch):
    monkeypatch.setitem(COMPONENTS, "concise", documented_module(0).concise)
    for command in commands(page):
        program, target, *words = shlex.split(command)
        if program != "make" or not re.fullmatch(r"[a-z][a-z0-9-]+", target):
            continue
        assert target in MAKE_TARGETS, command
        overrides = make_overrides(words)
        if target in COMPOSE and "hydra/launcher" not in command:
            try:
                COMPOSE[target](overrides)
            except ValueError as error:
                pytest.fail(f"{command}: {error}")


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_python_module_that_is_run_exists(page):
    for command in commands(page):
        if module := re.match(r"\S*python -m (\S+)", command):
            assert find_spec(module[1]), command


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_linked_or_named_file_exists(page):
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (page.parent / link).exists(), f"{page} links to {link}"
    for name in re.findall(rf"`((?:{FOLDERS})/[\w./-]+)`", text):
        assert Path(name).exists(), f"{page} names {name}"


def test_the_readme_is_short():
    assert len(Path("README.md").read_text(encoding="utf-8").splitlines()) <= 150


def definitions(path: Path) -> Iterator[str]:
    """The names that a module defines: functions, classes and variables, and `Class.name` for what a class defines."""

    def names(body: list[ast.stmt]) -> Iterator[str]:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                yield node.name
            elif isinstance(node, ast.AnnAssign | ast.Assign):
                targets = [node.target] if isinstance(node, ast.AnnAssign) else node.targets
                yield from (target.id for target in targets if isinstance(target, ast.Name))

    module = ast.parse(path.read_text(encoding="utf-8"))
    yield from names(module.body)
    for node in module.body:
        if isinstance(node, ast.ClassDef):
            yield from (f"{node.name}.{name}" for name in names(node.body))


@pytest.mark.parametrize(
    "section", re.split(r"^##+ ", ARCHITECTURE, flags=re.MULTILINE), ids=lambda s: s.splitlines()[0]
)
def test_every_name_in_the_tour_is_defined_in_a_file_that_its_section_names(section):
    """Names are written as `function()`, `Class.method()` or `Class`."""
    code = re.findall(r"`([^`\n]+)`", section)
    files = [Path(text) for text in code if text.endswith(".py")]
    names = [text.removesuffix("()") for text in code if re.fullmatch(r"[A-Z]\w+(\.\w+)?|[\w.]+\(\)", text)]
    defined = {name for path in files for name in definitions(path)}
    assert not set(names) - defined


def test_the_problem_of_the_tour_is_real():
    cfg = compose_config([])
    problem = cfg.env.problem(0, "train", 0)
    assert str(problem.prompt).replace("\n", "\n    ").strip() in ARCHITECTURE
    assert str(request_seed(0, "train", 0, 0, 0)) in ARCHITECTURE
    rows = re.findall(r"^\| `(.+)` \| (.+) \| (\S+) \| (\S+) \|$", ARCHITECTURE, re.MULTILINE)[
        : cfg.algorithm.group_size
    ]
    verdicts = [cfg.env.check(problem, answer) for answer, *_ in rows]
    assert [verdict.reason for verdict in verdicts] == [reason for _, reason, *_ in rows]
    rewards = [cfg.reward.total({"correct": float(v.correct), "answered": 1.0}) for v in verdicts]
    assert rewards == [float(reward) for _, _, reward, _ in rows]
    advantages = normalize([torch.tensor(rewards, dtype=torch.float64)], cfg.algorithm.advantage)
    assert advantages.tolist() == pytest.approx([float(advantage) for *_, advantage in rows], abs=5e-4)


def test_the_core_is_at_most_1500_lines_in_six_files():
    lines = {name: len(Path(name).read_text(encoding="utf-8").splitlines()) for name, _ in CORE}
    assert len(lines) == 6 and sum(lines.values()) <= CORE_LINES, lines
    for name, stated in CORE:
        assert lines[name] == pytest.approx(int(stated), rel=0.1), f"docs/architecture.md gives {name} {stated} lines"
