"""The Dockerfile and the SkyPilot task cannot run here, so the names in them are compared with the repository."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.fake_nvidia_smi import install, saying

INSTALL = Path("tools/install")
MAKEFILE = Path("Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z0-9-]+):", MAKEFILE, re.MULTILINE))
SKYPILOT = yaml.safe_load((INSTALL / "skypilot.yaml").read_text(encoding="utf-8"))
# Documented keys of a task and of its resources (SkyPilot, "SkyPilot YAML").
TASK_KEYS = {"name", "workdir", "num_nodes", "resources", "envs", "secrets", "file_mounts", "setup", "run", "config"}
RESOURCE_KEYS = {
    *("infra", "accelerators", "cpus", "memory", "instance_type", "use_spot", "disk_size", "disk_tier"),
    *("network_tier", "image_id", "ports", "labels", "autostop", "any_of", "ordered", "job_recovery"),
}


def make_targets(text: str) -> set[str]:
    commands = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    return set(re.findall(r"""\bmake"?,? "?([a-z-]+)""", commands))


@pytest.mark.parametrize("path", ["tools/install/Dockerfile", "tools/install/skypilot.yaml"])
def test_the_make_targets_they_call_exist(path):
    called = make_targets(Path(path).read_text(encoding="utf-8"))
    assert {"doctor", "setup"} <= called <= TARGETS


def test_the_skypilot_task_has_documented_keys_and_passes_settings_to_make():
    assert set(SKYPILOT) <= TASK_KEYS and set(SKYPILOT["resources"]) <= RESOURCE_KEYS
    assert {"MODEL", "ENV", "ARGS"} <= set(SKYPILOT["envs"])
    assert all(re.search(rf"^{name} \?=", MAKEFILE, re.MULTILINE) for name in ("MODEL", "ENV", "ARGS"))
    preset = re.search(r"experiment=(\S+)", SKYPILOT["envs"]["ARGS"])
    assert preset and Path("conf/experiment", f"{preset[1]}.yaml").is_file()
    assert SKYPILOT["run"].index("make doctor") < SKYPILOT["run"].index("make train")


def test_the_image_has_the_cuda_version_that_torch_was_built_for():
    image = re.search(r"(?m)^FROM nvidia/cuda:(\d+\.\d+)\.", (INSTALL / "Dockerfile").read_text(encoding="utf-8"))
    locked = re.search(r"(?m)^cuda-toolkit==(\d+\.\d+)\.", (INSTALL / "requirements.txt").read_text(encoding="utf-8"))
    assert image and locked and image[1] == locked[1]


def test_the_image_contains_every_package_and_no_ignored_folder():
    rules = (INSTALL / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    kept = {rule[1:].rstrip("/") for rule in rules if rule.startswith("!")}
    packages = {path.parent.name for path in Path().glob("*/__init__.py")} | {"conf", "tests"}
    assert packages <= kept and not kept & {".venv", "outputs", ".git"}


@pytest.mark.parametrize(
    ("script", "count"),
    [(saying("No devices were found", 6), "0"), (saying("GPU 0: NVIDIA L4 (UUID: GPU-5a1c)", 0), "1")],
)
def test_the_cuda_builds_are_installed_if_nvidia_smi_lists_a_gpu_and_not_if_it_is_merely_there(
    script, count, tmp_path, monkeypatch
):
    monkeypatch.setenv("PATH", install(tmp_path / "bin", script))
    command = re.search(r"^HAS_GPU := \$\(shell (.*)\)$", MAKEFILE, re.MULTILINE)
    assert command is not None
    done = subprocess.run(["sh", "-c", command[1]], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == count


def test_make_accepts_several_folders_of_wheels_and_a_report_whose_path_has_a_space():
    given = ["PIP_FIND_LINKS=/wheels /more", "GPU_REPORT=a folder/report.json"]
    command = ["make", "--dry-run", "--always-make", "bench-setup", "plan", *given]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert " --find-links /wheels --find-links /more " in shown and " --report 'a folder/report.json'" in shown
