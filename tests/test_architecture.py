"""The structure of the code, read from its source: imports, and the calls that make up a training step."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("conf", "envs", "grpo", "inference", "pipelines", "report", "rewards", "run", "tools", "workers")
ENTRY_POINTS = sorted(path.stem for path in ROOT.glob("*.py"))
COMMANDS = "__main__.py"  # `python -m rewards` is an entry point too
# The packages and modules that each package may import; imports point down only.
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
        "run.files",
        "run.lock",
        "workers.checkpoint",
    },
    "pipelines": {"conf", "envs", "rewards", "grpo.types", "inference", "report", "run", "workers.checkpoint"},
    "run": {"conf", "envs", "rewards", "grpo"},
    "report": {"run", "envs", "rewards", "grpo"},
    "conf": {"envs", "rewards", "grpo.settings"},
    "workers": {
        "conf",
        "envs.env",
        "envs.fitting",
        "envs.records",
        "grpo",
        "rewards.judge",
        "rewards.behavior_judge",
        "run.cost",
        "run.files",
        "run.lock",
    },
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
                is_allowed = any(f"{name}.".startswith(f"{module}.") for module in ALLOWED[package])
                assert is_allowed, f"{path} imports {name}"


@pytest.mark.parametrize(
    ("library", "packages"),
    [
        ("ray", {"workers"}),
        ("vllm", {"workers", "tools"}),
        ("transformers", {"workers", "tools"}),
        ("hydra", {"conf", "tools"}),
        ("wandb", {"run"}),
    ],
)
def test_a_library_is_imported_by_its_packages_only(library, packages):
    for package in set(PACKAGES) - packages:
        users = [path for path in files(package) if any(n.split(".")[0] == library for n in imports(path))]
        assert not users, f"{library} is imported by {users}"


def test_tools_are_imported_by_tools_alone():
    others = [path for package in set(PACKAGES) - {"tools"} for path in sorted((ROOT / package).rglob("*.py"))]
    for path in [*others, *ROOT.glob("*.py")]:
        assert not any(name.split(".")[0] == "tools" for name in imports(path)), path


def test_the_mathematics_imports_only_torch_and_numpy():
    imported = {n.split(".")[0] for path in files("grpo") for n in imports(path)} - {"grpo"}
    assert imported <= {"torch", "numpy", "collections", "dataclasses", "hashlib", "math", "typing"}


def test_rewards_tasks_inference_and_pipelines_do_not_import_torch():
    packages = [path for package in ("rewards", "envs", "inference", "pipelines") for path in files(package)]
    for path in [*packages, ROOT / "grpo" / "types.py"]:
        assert not any(n.split(".")[0] == "torch" for n in imports(path)), path


def test_model_text_is_never_evaluated():
    # Except in the sandbox, whose process runs model code after it has given up all other rights.
    sandboxed = ROOT / "envs" / "code" / "sandbox_child.py"
    for path in [p for package in PACKAGES for p in files(package) if p != sandboxed]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                forbidden = ("eval", "exec", "compile", "sympify", "parse_expr")  # sympy evaluates strings
                assert node.func.id not in forbidden, f"{path}:{node.lineno}"


# A chain of calls: (file, function, the call in its body that leads to the next function). A call through Ray names
# the remote method as its first argument.
TO_THE_OPTIMIZER_STEP = [
    ("train_grpo.py", "main", "train"),
    ("train_grpo.py", "train", "training.run"),
    ("train_grpo.py", "Training.run", "self.train_step"),
    ("train_grpo.py", "Training.train_step", "trio.actor.call 'update'"),
    ("workers/rank_group.py", "RankGroup.call", "getattr(worker.handle, method).remote"),
    ("workers/actor.py", "Actor.update", "self.optimizer.step"),
]
TO_THE_RELOAD = [
    ("train_grpo.py", "Training.train_step", "trio.rollout.load_weights"),
    ("workers/rollout.py", "RolloutPool.load_weights", "self.group.call 'load_weights'"),
    ("workers/rank_group.py", "RankGroup.call", "getattr(worker.handle, method).remote"),
    ("workers/rollout.py", "VllmSampler.load_weights", "self.llm.update_weights"),  # vLLM calls its transfer engine
    ("workers/transfer_engines.py", "ShmEngine.update_weights", "self.receive_weights"),  # which reads the weights
]


def definition(file: str, name: str) -> ast.AST:
    """The function or class of a module with this name; a method is `Class.method`."""
    node: ast.AST = ast.parse((ROOT / file).read_text())
    for part in name.split("."):
        body = getattr(node, "body", [])
        node = next(n for n in body if isinstance(n, ast.FunctionDef | ast.ClassDef) and n.name == part)
    return node


def calls(node: ast.AST) -> set[str]:
    """The functions that are called in a body, as they are written, with a constant first argument if there is one."""
    found = set()
    for call in ast.walk(node):
        if isinstance(call, ast.Call):
            found.add(ast.unparse(call.func))
            if call.args and isinstance(call.args[0], ast.Constant):
                found.add(f"{ast.unparse(call.func)} {ast.unparse(call.args[0])}")
    return found


@pytest.mark.parametrize(
    ("chain", "most_calls"),
    [pytest.param(TO_THE_OPTIMIZER_STEP, 6, id="optimizer.step"), pytest.param(TO_THE_RELOAD, 5, id="reload")],
)
def test_a_training_step_is_a_short_chain_of_calls(chain, most_calls):
    """From main to optimizer.step, and from train_step to the method that reads the new weights, both included."""
    assert len(chain) <= most_calls
    for file, function, call in chain:
        assert call in calls(definition(file, function)), f"{function} in {file} no longer calls {call}"


def test_the_default_recipe_is_in_one_file():
    recipe = ["group_advantages", "normalize", "make_batch", "ppo_loss", "token_losses", "token_weights"]
    for name in [*recipe, "completion_logprobs"]:
        assert isinstance(definition("grpo/grpo.py", name), ast.FunctionDef)
    assert not imports(ROOT / "grpo" / "grpo.py") & {"grpo.advantages", "grpo.losses"}
