"""tools/sweep with a stub trainer; the jobs, processes and signals are real."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from report.sweep_results import read_jobs
from run.files import DamagedFile
from run.folder import RunFolder
from tools.sweep import __main__ as sweep
from tools.sweep.plan import CONF, plan_sweep

# The seed decides how it ends: 0 and 1 succeed, 2 raises an error, 3 is killed by a signal, 4 has an invalid setting;
# 5 is asked to stop on its first start and succeeds on its second.
TRAINER = """
import json, os, pathlib, signal, sys, time
given = dict(override.split("=", 1) for override in sys.argv[1:])
folder = pathlib.Path("outputs", given["run"])
with open("started", "a") as file:
    file.write(given["run"].rsplit("/")[-1] + "\\n")
seed = int(given["seed"])
if seed == 2:
    raise ValueError("no such thing")
if seed == 3:
    os.kill(os.getpid(), signal.SIGKILL)
if seed == 4:
    print("error: algorithm.group_size must be >= 2, got 1", file=sys.stderr)
    sys.exit(2)
if seed == 5 and not (folder / "checkpoint").exists():
    def checkpoint(*_):
        (folder / "checkpoint").touch()
        sys.exit(0)
    signal.signal(signal.SIGTERM, checkpoint)
    os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(60)
accuracy = {"step0": {"sampled": 0.2}, "final": {"sampled": 0.5 + 0.1 * seed}}
rows = [{"step": 0, "eval/sampled": 0.2, "rollout/tokens": 100}, {"step": 1, "eval/sampled": 0.5}]
(folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\\n" for row in rows))
summary = {"accuracy": accuracy, "steps": 1000, "tokens": 100, "seconds": 6, "usd": 0}
(folder / "summary.json").write_text(json.dumps(summary))
"""


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run a sweep in an empty folder; returns (exit code, output, started jobs)."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trainer.py").write_text(TRAINER)
    monkeypatch.setattr(sweep, "TRAINER", tmp_path / "trainer.py")
    monkeypatch.setattr(sweep, "POLL_SECONDS", 0.02)
    monkeypatch.setattr("report.sweep_picture.draw", lambda variants, output: output.touch())  # takes half a second

    def run_sweep(*overrides):
        (tmp_path / "started").write_text("")
        monkeypatch.setattr(sys, "argv", ["tools.sweep", *overrides])
        code = 0
        try:
            sweep.main()
        except SystemExit as end:
            code = end.code
        return code, capsys.readouterr().out, (tmp_path / "started").read_text().split()

    return run_sweep


def with_config(job, *overrides):
    """Write the config.yaml of a job, which the stub does not."""
    with initialize_config_dir(str(CONF), version_base=None):
        raw = compose("config", [*overrides, f"seed={job[-1]}", f"run=sweeps/seed/{job}", "tracker.group=seed"])
    RunFolder(Path("outputs/sweeps/seed", job)).write_config(OmegaConf.to_container(raw, resolve=True))


def names(*overrides):
    return [job.name for job in plan_sweep(overrides)]


def test_a_job_is_named_by_what_varies_only():
    assert names("algorithm=grpo,dr_grpo", "seed=0,1", "num_steps=20", "reward=strict") == [
        "grpo-seed0",
        "grpo-seed1",
        "dr_grpo-seed0",
        "dr_grpo-seed1",
    ]
    assert names("algorithm.optimizer.lr=1e-4,3e-4") == ["lr0.0001", "lr0.0003"]
    assert names("env.num_numbers=[3],[3,4]", "seed=range(0,2)")[2:] == ["num_numbers3_4-seed0", "num_numbers3_4-seed1"]
    assert names("reward=strict,r1", "+reward.weights.format=0,1")[0] == "strict-format0"


def test_a_sweep_without_a_name_is_named_after_its_keys():
    assert plan_sweep(["algorithm.group_size=4,8", "seed=0,1"])[0].sweep == "group_size-seed"
    assert plan_sweep(["seed=0,1", "sweep.name=mine"])[0].sweep == "mine"


def test_a_subset_of_a_named_sweep_keeps_its_names():
    assert names("sweep=rewards", "seed=1", "reward=strict") == ["strict-seed1"]


def test_the_baseline_is_the_first_variant_or_the_named_one():
    assert plan_sweep(["seed=0,1", "reward=strict,r1"])[0].baseline == {"reward": "strict"}
    assert plan_sweep(["seed=0,1", "reward=strict,r1", "sweep.baseline=r1"])[0].baseline == {"reward": "r1"}
    # A baseline given as key=value fixes that key only: each group size has its own baseline.
    two = plan_sweep(["reward=strict,r1", "algorithm.group_size=4,8", "sweep.baseline='reward=r1'"])
    assert two[0].baseline == {"reward": "r1"}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["seed=0"],
            "sweep: no key has several values; name a file of conf/sweep/, or give a key several values, as in",
        ),
        (["seed=0,0"], "sweep: 2 jobs would be named seed0 (seed=0; seed=0)"),
        (["reward.max_tokens=[1],1"], "2 jobs would be named max_tokens1"),
        (["sweep=none"], "sweep=none: unknown; allowed are algorithms, group_size, model_size, rewards"),
        (["seed=0,1", "run=mine"], "a sweep, which names its runs itself"),
        (["seed=0,1", "sweep.name=a/b"], "sweep.name=a/b: only letters, digits and ._+- are allowed"),
        (["seed=0,1", "sweep.baseline=dapo"], "sweep.baseline=dapo: must be a variant of the sweep, one of all"),
        (
            ["reward=strict,r1", "sweep.baseline='reward=r2'"],
            "sweep.baseline=reward=r2: must be a variant of the sweep, one of strict, r1, or some of its overrides",
        ),
        (["sweep=rewards", "sweep.baseline='reward=r2'"], "sweep.baseline=reward=r2: must be a variant of the sweep"),
        (["seed=0,1", "num_steps=a=b"], "num_steps=a=b: not a valid Hydra override"),
        (["seed=0,1", "hydra/launcher=ray"], "pip install --python .venv/bin/python hydra-ray-launcher"),
    ],
)
def test_an_invalid_sweep_is_rejected_in_one_line(overrides, message):
    with pytest.raises(ValueError) as error:
        plan_sweep(overrides)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "sweep").glob("*.yaml")))
def test_every_sweep_of_conf_composes_and_so_do_its_jobs(name):
    from hydra import compose, initialize_config_dir

    jobs = plan_sweep([f"sweep={name}"])
    assert {job.sweep for job in jobs} == {name}
    assert any(job.baseline.items() <= job.overrides.items() for job in jobs)
    with initialize_config_dir(str(CONF), version_base=None):
        # One job per variant is enough: seeds compose alike.
        for job in {job.variant: job for job in jobs}.values():
            varied = [f"{key}={value}" for key, value in job.overrides.items()]
            assert compose("config", [f"sweep={name}", *varied, "hydra.mode=RUN"]).sweep.name == name


def test_the_baseline_can_be_a_job_of_an_earlier_start_or_of_the_rest_of_the_file(run):
    later = ["reward=r1,tinyzero", "seed=0", "sweep.name=mine", "sweep.baseline='reward=strict'"]
    with pytest.raises(ValueError, match="sweep.baseline=reward=strict: must be a variant of the sweep"):
        plan_sweep(later)
    run("reward=strict,r1", "seed=0", "sweep.name=mine")
    assert plan_sweep(later)[0].baseline == {"reward": "strict"}
    assert plan_sweep(["sweep=rewards", "reward=strict"])[0].baseline == {"reward": "tinyzero"}


def test_failed_jobs_are_reported_and_the_others_run(run):
    code, output, started = run("seed=0,2,3,4,1", "num_steps=20")
    assert code == 1 and started == ["seed0", "seed2", "seed3", "seed4", "seed1"]
    assert "[1/5] seed0 50.0% in 0.0 min" in output and "[5/5] seed1 60.0%" in output
    report = Path("outputs/sweeps/seed/sweep.md").read_text()
    assert "- seed2: failed: ValueError: no such thing (outputs/sweeps/seed/seed2/job.log)" in report
    assert "- seed3: failed: killed by SIGKILL" in report
    assert "- seed4: failed: error: algorithm.group_size must be >= 2, got 1" in report
    assert Path("outputs/sweeps/seed/sweep.png").is_file()


def test_a_job_gets_the_shared_settings_and_its_own(run):
    Path("trainer.py").write_text("import sys\nprint(*sys.argv[1:])\n")
    run("reward=strict,r1", "num_steps=20", "hydra.verbose=false", "sweep.name=mine")
    words = Path("outputs/sweeps/mine/r1/job.log").read_text().split()
    assert words[:2] == ["reward=r1", "num_steps=20"]
    assert words[-3:] == ["run=sweeps/mine/r1", "tracker.group=mine", "hydra.mode=RUN"]
    assert not any("verbose" in word for word in words)


def test_finished_jobs_are_skipped_without_a_process(run):
    run("seed=0,2")
    with_config("seed0")
    code, output, started = run("seed=0,2,1")
    assert started == ["seed2", "seed1"] and "[1/3] seed0 skipped, already finished" in output and code == 1


def test_a_job_that_finished_with_other_settings_fails(run):
    run("seed=0,1", "num_steps=20")
    with_config("seed0", "num_steps=20")
    code, output, started = run("seed=0,1", "num_steps=20", "algorithm.group_size=4")
    assert code == 1 and not started and "[1/2] seed0 failed" in output
    report = Path("outputs/sweeps/seed/sweep.md").read_text()
    assert "was started with algorithm.group_size=8, but now algorithm.group_size=4" in report


def test_a_job_that_trained_for_longer_is_not_averaged_with_the_others(run):
    run("seed=0,1", "num_steps=30")
    with_config("seed0", "num_steps=30")
    with_config("seed1", "num_steps=30")
    for change in ("num_steps=20", "num_tokens=50"):  # the stub has trained 1000 steps and 100 tokens
        code, output, started = run("seed=0,1,2", "num_steps=30", change, "sweep.name=seed")
        assert code == 1 and "[1/3] seed0 failed" in output
        report = Path("outputs/sweeps/seed/sweep.md").read_text()
        assert "num_steps=30, but now num_steps=20" in report or "num_tokens=None, but now num_tokens=50" in report


def test_a_job_that_was_evaluated_on_other_problems_is_not_averaged_with_the_others(run):
    run("seed=0,1", "num_steps=30", "evaluation.num_problems=32")
    with_config("seed0", "num_steps=30", "evaluation.num_problems=32")
    code, output, started = run("seed=0,1", "num_steps=30")
    assert code == 1 and "[1/2] seed0 failed" in output
    report = Path("outputs/sweeps/seed/sweep.md").read_text()
    assert "was started with evaluation.num_problems=32, but now evaluation.num_problems=512" in report


def test_a_job_that_trained_on_other_data_is_not_averaged_with_the_others(run):
    run("seed=0,1", "num_steps=30")
    with_config("seed0", "num_steps=30")
    with Path("outputs/sweeps/seed/seed0/config.yaml").open("a") as file:
        file.write("problems: {sha256: ab}\n")
    code, output, started = run("seed=0,1", "num_steps=30")
    assert code == 1 and "[1/2] seed0 failed" in output
    assert "was started with problems.sha256=ab, but now" in Path("outputs/sweeps/seed/sweep.md").read_text()


def test_jobs_of_an_earlier_plan_with_other_settings_do_not_count(run):
    run("seed=0,1", "num_steps=30", "tracker=none")
    run("seed=6,7", "num_steps=40", "sweep.name=seed")
    report = Path("outputs/sweeps/seed/sweep.md").read_text()
    assert (
        re.search(r"\| all +\| +2 of 4 \|", report)
        and "- seed0: does not count, has num_steps=30 instead of 40" in report
    )
    with_config("seed6", "num_steps=40")
    with_config("seed7", "num_steps=40")
    run("seed=6,7,8", "num_steps=40", "sweep.name=seed", "tracker=none")  # where a run is logged makes no difference
    assert re.search(r"\| all +\| +3 of 5 \|", Path("outputs/sweeps/seed/sweep.md").read_text())


def test_a_folder_has_one_sweep_at_a_time(run, capsys):
    script = """
import pathlib, sys
from run.lock import lock
held = lock(pathlib.Path("outputs/sweeps/seed"), "")
print(flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": str(CONF.parent)},
    ) as other:
        other.stdout.readline()
        code, _, started = run("seed=0,1")
        other.stdin.close()
    assert code == 2 and not started and not Path("outputs/sweeps/seed/sweep.json").exists()


@pytest.mark.parametrize("name", ["summary.json", "config.yaml", "job.json"])
def test_a_damaged_file_of_a_job_is_named(run, capsys, name):
    run("seed=0,1")
    with_config("seed0")
    with_config("seed1")
    Path("outputs/sweeps/seed/seed0", name).write_text('{"a')
    code, output, _ = run("seed=1,0")
    report = Path("outputs/sweeps/seed/sweep.md").read_text()
    if name == "job.json":  # is written again
        assert code == 0 and "Not in the table" not in report
    else:
        assert code == 1 and f"seed0/{name} is empty or damaged; remove" in report and "| 60.0% ± - |" in report
    Path("outputs/sweeps/seed/seed1/job.json").write_text("[]")
    with pytest.raises(DamagedFile, match="seed1/job.json is empty or damaged; remove it"):
        read_jobs(Path("outputs/sweeps/seed"))


def test_a_stopped_sweep_is_resumed(run):
    handlers = [signal.getsignal(number) for number in sweep.SIGNALS]
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    code, output, started = run("seed=0,5,1")
    assert code == 0 and started == ["seed0", "seed5"]
    assert "[2/3] seed5 stopped; run the same command to resume it" in output
    assert [job.status for job in read_jobs(Path("outputs/sweeps/seed"))] == ["finished", "stopped", "not started"]
    assert [signal.getsignal(number) for number in sweep.SIGNALS] == handlers
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask
    with_config("seed0")
    code, output, started = run("seed=0,5,1")
    assert code == 0 and started == ["seed5", "seed1"]
    assert {job.status for job in read_jobs(Path("outputs/sweeps/seed"))} == {"finished"}
    assert not Path("outputs/sweeps/seed/stop").exists()


def test_a_job_that_its_budget_ends_is_not_taken_for_a_stopped_one(run):
    settings = ("seed=0,1", "num_steps=2000")  # the stub ends after 1000 steps
    code, output, _ = run(*settings, "budget.usd=5")
    assert code == 0 and "[1/2] seed0 ended by budget.usd before its last step; a larger budget continues" in output
    assert "- seed1: ended by budget.usd before its last step" in Path("outputs/sweeps/seed/sweep.md").read_text()


def test_a_second_request_to_stop_kills_the_job(run):
    deaf = """
import os, signal, time
signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getppid(), signal.SIGTERM))
os.kill(os.getppid(), signal.SIGTERM)
while True:
    time.sleep(1)
"""
    Path("trainer.py").write_text(deaf)
    code, output, _ = run("seed=0,1")
    assert code == 0 and "[1/2] seed0 stopped" in output
    job = json.loads(Path("outputs/sweeps/seed/seed0/job.json").read_text())
    assert job["exit_code"] == -signal.SIGKILL
