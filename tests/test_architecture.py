"""The layers of the house, read from the imports."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("conf", "envs", "grpo", "inference", "report", "rewards", "run", "tools", "workers")
ENTRY_POINTS = sorted(path.stem for path in ROOT.glob("*.py"))
# `python -m rewards` and the like are entry points too, whatever folder they lie in.
COMMANDS = "__main__.py"
# What each package may import of the others; imports point down only.
ALLOWED = {
    "grpo": set(),
    "rewards": {"grpo.types"},
    "envs": {"rewards", "grpo.types"},
    "inference": {
        "conf",
        "envs",
        "rewards",
        "grpo.settings",
        "grpo.types",
        "report.sweep_picture",
        "workers.checkpoint",
    },
    "run": {"conf", "envs", "rewards", "grpo"},
    "report": {"run", "envs", "rewards", "grpo"},
    "conf": {"envs", "rewards", "grpo.settings"},
    "workers": {"conf", "grpo", "rewards.judge", "rewards.behavior_judge"},
}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def files(package: str) -> list[Path]:
    return sorted(path for path in (ROOT / package).rglob("*.py") if path.name != COMMANDS)


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_point_down(package):
    for path in files(package):
        for name in imports(path):
            top = name.split(".")[0]
            assert top not in ENTRY_POINTS, f"{path} imports the entry point {name}"
            if top in PACKAGES and top != package:
                allowed = any(name == one or name.startswith(f"{one}.") for one in ALLOWED[package])
                assert allowed, f"{path} imports {name}"


@pytest.mark.parametrize(
    ("library", "where"),
    [
        ("ray", {"workers"}),
        ("vllm", {"workers", "tools"}),
        ("transformers", {"workers", "tools"}),
        ("hydra", {"conf", "tools"}),
        ("wandb", {"run"}),
    ],
)
def test_a_library_is_imported_in_its_place_alone(library, where):
    for package in PACKAGES:
        users = [path for path in files(package) if any(n.split(".")[0] == library for n in imports(path))]
        assert package in where or not users, f"{library} is imported by {users}"


def test_the_mathematics_needs_torch_and_numpy_alone():
    third_party = {n.split(".")[0] for path in files("grpo") for n in imports(path)} - {"grpo"}
    assert third_party <= {"torch", "numpy", "collections", "dataclasses", "hashlib", "math", "typing"}


def test_rewards_need_no_torch():
    for path in [*files("rewards"), ROOT / "grpo" / "types.py", *files("envs"), *files("inference")]:
        assert not any(n.split(".")[0] == "torch" for n in imports(path)), path


def test_model_text_is_never_evaluated():
    # The process in the sandbox is there to run it, after it has given up everything else.
    sandboxed = ROOT / "envs" / "code" / "sandbox_child.py"
    for path in [p for package in PACKAGES for p in files(package) if p != sandboxed]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec", "compile"), f"{path}:{node.lineno}"
