"""Training runs from the command line, with Ray, vLLM and the shipped tiny model."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import yaml
from hydra import compose, initialize_config_dir
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import train_grpo
from conf.algorithms import AlgorithmConfig, SamplingConfig
from conf.compose import compose_config
from envs.fitting import FittingProblems
from envs.questions.task import Questions, _load
from run.files import append_rows, read_rows
from run.folder import RunFolder
from tests.loopback_hub import Hub, serving
from workers.checkpoint import list_checkpoints, verify_checkpoint
from workers.interrupt import Interrupted
from workers.rank_group import PhaseTimer, WorkerTimeout

ROOT = Path(__file__).parent.parent
TINY = ROOT / "envs/countdown/models/tiny"
NOTICE_SECONDS = 30.0  # between the signal and the end of a spot machine, with most providers
# The recipe of the tiny model makes four updates a step, with a learning rate that decays over the planned steps.
ONE_UPDATE = ["algorithm.num_minibatches=1", "algorithm.optimizer.schedule=constant"]
SETTINGS = [
    f"model.path={TINY}",
    "model.max_completion_tokens=64",
    "algorithm.num_prompts=4",
    "algorithm.group_size=4",
    "evaluation.num_problems=16",
    "evaluation.interim_problems=8",
    "evaluation.every=4",
    "checkpoint.every=5",
    "algorithm.kl.ref_sync_steps=4",
    *ONE_UPDATE,
]


def start(folder: Path, run: str, *overrides: str, environment: dict[str, str] | None = None) -> subprocess.Popen:
    command = [sys.executable, str(ROOT / "train_grpo.py"), *SETTINGS, f"run={run}", *overrides]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen) -> str:
    output, _ = process.communicate(timeout=400)
    assert process.returncode == 0, output
    return output


def summary(folder: Path, run: str) -> dict:
    return json.loads((folder / "outputs" / run / "summary.json").read_text())


def metrics(folder: Path, run: str) -> list[dict]:
    path = folder / "outputs" / run / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def wait_for_step(folder: Path, run: str, step: int) -> None:
    limit = time.monotonic() + 300
    while len(metrics(folder, run)) < step:
        assert time.monotonic() < limit
        time.sleep(0.2)


def descendants(process: subprocess.Popen) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def ray_actors(processes: list[psutil.Process], kind: str) -> list[psutil.Process]:
    """The processes of a Ray actor class; Ray titles them ray::Class or ray::Class.method."""
    return [p for p in processes if " ".join(p.cmdline()).split(".")[0].strip() == f"ray::{kind}"]


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A run of ten steps without interruption."""
    folder = tmp_path_factory.mktemp("straight")
    output = finish(start(folder, "straight", "num_steps=10", "tracker.mode=offline"))
    return folder, output


def test_a_run_writes_all_its_output_files(straight):
    folder, output = straight
    run = folder / "outputs" / "straight"
    for name in ("config.yaml", "metrics.jsonl", "samples.jsonl", "summary.json"):
        assert (run / name).is_file()
    assert yaml.safe_load((run / "config.yaml").read_text())["groups"] == {"env": "countdown", "model": "tiny"}
    found = summary(folder, "straight")
    for moment in ("step0", "final"):
        figures = found["accuracy"][moment]
        assert 0 <= figures["sampled"] <= 1 and 0 <= figures["greedy"] <= 1 and figures["n"] == 16
    assert found["steps"] == 10 and found["tokens"] > 0 and found["seconds"] > 0 and found["usd"] == 0
    assert [row["step"] for row in metrics(folder, "straight")] == list(range(11))
    assert "4 prompts x 4 completions = 16 completions" in output
    assert "held-out problems: 16" in output and "wandb sync" in output


def test_checkpoints_are_intact_and_load_in_transformers(straight):
    folder, _ = straight
    checkpoints = list_checkpoints(folder / "outputs" / "straight" / "checkpoints")
    assert [path.name for path in checkpoints] == ["step_000005", "step_000010"]
    for path in checkpoints:
        verify_checkpoint(path)
    model = AutoModelForCausalLM.from_pretrained(checkpoints[-1] / "hf")
    tokenizer = AutoTokenizer.from_pretrained(checkpoints[-1] / "hf")
    assert model.config.vocab_size == len(tokenizer)
    assert (
        tokenizer.decode(tokenizer("make 12 from 16 8 4\n<think>\n")["input_ids"]) == "make 12 from 16 8 4\n<think>\n"
    )


def test_vllm_and_the_actor_agree_after_every_weight_sync(straight):
    folder, _ = straight
    steps = [row for row in metrics(folder, "straight") if "mismatch/max_gap" in row]
    assert all(row["mismatch/max_gap"] < 1e-4 for row in steps)
    assert [row["weights/version"] for row in steps] == list(range(1, 11))
    assert len({row["weights/checksum"] for row in steps}) == 10
    # The weights change in every step, so stale ones would show as a mismatch.
    assert len({row["policy/grad_norm"] for row in steps}) == 10


def test_the_reference_is_synced_every_four_steps(straight):
    distance = [row["policy/kl"] for row in metrics(straight[0], "straight") if "policy/kl" in row]
    for step in range(10):
        assert distance[step] == pytest.approx(0, abs=1e-7) if step % 4 == 0 else distance[step] > 1e-6, step


def test_a_resumed_run_equals_an_uninterrupted_one_to_the_bit(straight, tmp_path):
    finish(start(tmp_path, "halves", "num_steps=5", "tracker.mode=offline"))
    output = finish(start(tmp_path, "halves", "num_steps=10", "tracker.mode=offline"))
    assert "resuming from" in output and "step_000005" in output
    assert summary(tmp_path, "halves")["weights_sha256"] == summary(straight[0], "straight")["weights_sha256"]
    wandb_runs = list((tmp_path / "outputs" / "halves" / "wandb").glob("offline-run-*"))
    assert len(wandb_runs) == 2 and len({path.name.split("-")[-1] for path in wandb_runs}) == 1
    for row, resumed in zip(metrics(straight[0], "straight")[:10], metrics(tmp_path, "halves"), strict=False):
        for name in ("reward/mean", "policy/loss", "policy/grad_norm", "length/mean", "weights/checksum"):
            assert row[name] == resumed[name], (row["step"], name)


def test_a_run_is_not_resumed_after_its_problems_have_changed(tmp_path, monkeypatch, capsys):
    path = tmp_path / "rows.jsonl"
    with initialize_config_dir(str(ROOT / "conf"), version_base=None):
        settings = ["env=jsonl", f"env.path={path}", f"model.path={TINY}", "evaluation.num_problems=2", "tracker=none"]
        raw = compose("config", settings)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("run.folder.chosen_groups", dict)
    monkeypatch.setattr("train_grpo.train", lambda kind, cfg, folder, resolved: folder.write_config(resolved))

    def start_with(*answers: int) -> None:
        path.write_text("".join(json.dumps({"problem": f"{n}?", "answer": a}) + "\n" for n, a in enumerate(answers)))
        _load.cache_clear()  # that of another process is empty
        train_grpo.main(raw)

    start_with(*range(20))
    start_with(*range(20))
    for changed in ([7, *range(1, 20)], range(21)):
        with pytest.raises(SystemExit) as ended:
            start_with(*changed)
        assert ended.value.code == 2
        line = capsys.readouterr().err
        assert "was started with problems.sha256=" in line and "or restore the data to resume this run" in line


def test_the_same_command_writes_the_report_of_a_run_that_was_killed_after_its_summary(tmp_path, monkeypatch, capsys):
    with initialize_config_dir(str(ROOT / "conf"), version_base=None):
        raw = compose("config", [f"model.path={TINY}", "evaluation.num_problems=2", "tracker=none", "run=ended"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("run.folder.chosen_groups", dict)
    monkeypatch.setattr("train_grpo.train", lambda kind, cfg, folder, resolved: folder.write_config(resolved))
    train_grpo.main(raw)
    folder = tmp_path / "outputs" / "ended"
    (folder / "summary.json").write_text(json.dumps({"steps": raw.num_steps, "tokens": 9, "seconds": 1.0, "usd": 0.0}))
    train_grpo.main(raw)
    assert "this run is finished" in capsys.readouterr().out and (folder / "report.html").is_file()


def test_the_cost_of_a_start_that_fails_before_the_workers_are_ready_is_recorded(tmp_path, monkeypatch):
    cfg, folder = compose_config(["run=late", "cost.usd_per_gpu_hour=3600"]), RunFolder(tmp_path)
    folder.write_spent(100.0, 40.0)

    def time_out(cfg, session):
        time.sleep(0.2)
        raise WorkerTimeout("rollout rank 0 did not answer")

    session = SimpleNamespace(gpus=["NVIDIA L4"] * 2)
    monkeypatch.setattr("workers.trio.ray_session", lambda *_: contextlib.nullcontext(session))
    monkeypatch.setattr("workers.trio._start_workers", time_out)
    with pytest.raises(WorkerTimeout), train_grpo.start_training(train_grpo.Training, cfg, folder, {}, None, None):
        pass
    seconds, usd = folder.read_spent()
    assert 100.2 <= seconds < 110
    assert usd == pytest.approx(40 + 2 * (seconds - 100), abs=0.01)  # two GPUs of a dollar a second


def test_a_budget_that_ends_a_run_where_an_evaluation_is_due_evaluates_once():
    calls = []

    class Recorded(train_grpo.Training):
        def __init__(self):
            self.cfg = compose_config(["run=cheap", "evaluation.every=2", "budget.usd=5", "num_steps=9"])
            self.step, self.saved_step, self.eval_set = 0, -1, range(512)
            ended = SimpleNamespace(
                budget_exceeded=lambda usd: self.step == 4, log_end=lambda *end: calls.append(end), tokens=0
            )
            actor = SimpleNamespace(call=lambda *_, **__: "ab")
            self.monitor, self.trio = ended, SimpleNamespace(actor=actor, timer=PhaseTimer())

        def resume(self):
            pass

        def train_step(self):
            self.step += 1

        def evaluate(self, problems, greedy):
            self.trio.timer.seconds = {"evaluate": float(self.step)}
            calls.append((self.step, len(problems), greedy))

        def checkpoint(self):
            self.saved_step = self.step

    training = Recorded()
    training.run()
    assert (
        calls == [(0, 512, True), (2, 128, False), (4, 512, True), (4, {"evaluate": 4.0})] and training.saved_step == 4
    )


def test_a_killed_rollout_worker_is_restarted_without_changing_the_result(straight, tmp_path):
    process = start(tmp_path, "killed", "num_steps=10", "tracker=none")
    wait_for_step(tmp_path, "killed", 3)
    (worker,) = ray_actors(descendants(process), "VllmSampler")
    worker.send_signal(signal.SIGKILL)
    finish(process)
    assert summary(tmp_path, "killed")["weights_sha256"] == summary(straight[0], "straight")["weights_sha256"]
    assert sum("time/restart" in row for row in metrics(tmp_path, "killed")) == 1


def test_first_rounds_draw_every_problem_of_a_data_set_before_any_is_repeated(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"question": f"{n}?", "answer": n}) + "\n" for n in range(12)))
    env = Questions(path=str(path), eval_fraction=0)

    def drawn(rounds: int, step: int, *resampled: int) -> list[str]:
        training: Any = object.__new__(train_grpo.Training)
        training.cfg, training.problems = SimpleNamespace(seed=0), FittingProblems(env, 1000, lambda prompt: 1)
        training.algorithm = AlgorithmConfig(num_prompts=4, sampling=SamplingConfig(max_resample_rounds=rounds))
        return [problem.answer for problem in training.training_problems(step, *resampled)]

    epoch = [drawn(3, step) for step in range(3)]
    assert sorted(map(int, sum(epoch, []))) == list(range(12))
    assert epoch == [drawn(1, step) for step in range(3)]
    # Each later round has another order, which does not depend on how many problems it draws.
    assert drawn(3, 0, 1, 2) == drawn(3, 0, 1, 4)[:2] and drawn(3, 0, 1, 4) not in (epoch[0], drawn(3, 0, 2, 4))


def test_num_tokens_counts_the_tokens_of_discarded_rollouts(tmp_path):
    """A run ends with the step that reaches num_tokens, which includes trial completions and dropped groups."""
    sampling = ["max_resample_rounds=2", "candidates=2", "trial_completions=2"]
    settings = [*(f"algorithm.sampling.{override}" for override in sampling), "rollout.backend=transformers"]
    finish(start(tmp_path, "chosen", "num_steps=100", "num_tokens=4000", "algorithm=dapo", "tracker=none", *settings))
    steps = [row for row in metrics(tmp_path, "chosen") if "rollout/tokens" in row]
    tokens = [row["rollout/tokens"] for row in steps]
    assert sum(tokens[:-1]) < 4000 <= sum(tokens) == summary(tmp_path, "chosen")["tokens"]
    for row in steps:
        # 8 candidates for 4 problems, and up to 8 more for the second round
        assert 8 <= row["rollout/tried_groups"] <= 16
        trained = 16 * row["length/mean"]
        discarded = row["rollout/tried_tokens"] + row.get("rollout/dropped_tokens", 0)
        assert row["rollout/tokens"] == pytest.approx(trained + discarded)
    assert any("rollout/dropped_groups" in row for row in steps)
    # The same command recognizes the finished run.
    again = ["num_steps=100", "num_tokens=4000", "algorithm=dapo", "tracker=none", *settings]
    assert "this run is finished" in finish(start(tmp_path, "chosen", *again))


@pytest.mark.slow
def test_a_lora_run_sends_merged_weights_to_vllm(tmp_path):
    finish(start(tmp_path, "lora", "num_steps=3", "model.lora.rank=4", "algorithm.kl.ref_sync_steps=0", "tracker=none"))
    steps = [row for row in metrics(tmp_path, "lora") if "mismatch/max_gap" in row]
    assert all(row["mismatch/max_gap"] < 1e-4 for row in steps)
    assert steps[0]["policy/kl"] == pytest.approx(0, abs=1e-7) and steps[2]["policy/kl"] > 1e-7
    assert len({row["weights/checksum"] for row in steps}) == 3
    checkpoint = tmp_path / "outputs" / "lora" / "checkpoints" / "step_000003"
    AutoModelForCausalLM.from_pretrained(checkpoint / "hf")
    assert (checkpoint / "adapter" / "adapter_model.safetensors").is_file()


@pytest.mark.slow
def test_a_run_with_non_finite_gradients_stops_and_saves_the_data_of_the_step(tmp_path):
    # Logits divided by this temperature are infinite in the trainer; vLLM treats it as greedy decoding.
    settings = ["algorithm.sampling.temperature=1e-38", "algorithm.optimizer.max_skipped=2"]
    process = start(tmp_path, "broken", "num_steps=9", "tracker=none", *settings)
    output, _ = process.communicate(timeout=400)
    assert process.returncode == 1
    assert "the gradient was not finite 2 times in a row, up to step 1" in output
    run = tmp_path / "outputs" / "broken"
    batch = load_file(run / "failed_step_000001" / "batch.safetensors")
    assert batch["input_ids"].shape[0] == 16
    assert len((run / "failed_step_000001" / "completions.jsonl").read_text().splitlines()) == 16
    assert [row["policy/skipped_in_row"] for row in metrics(tmp_path, "broken")] == [1, 2]
    assert not (run / "summary.json").exists()


@pytest.mark.slow
def test_a_run_stops_within_its_budget_and_resumes_with_a_larger_one(tmp_path):
    """The run costs one dollar per second. A first run of one step shows how long a start takes."""
    settings = ["cost.usd_per_hour=3600", "tracker=none"]
    finish(start(tmp_path, "budget", "num_steps=1", *settings))
    paid = summary(tmp_path, "budget")["usd"]
    budget = 4 * paid
    output = finish(start(tmp_path, "budget", "num_steps=1000", f"budget.usd={budget}", *settings))
    found = summary(tmp_path, "budget")
    assert "stopping: the next step would exceed budget.usd" in output
    assert paid < found["usd"] <= budget and 1 < found["steps"] < 1000
    newest = list_checkpoints(tmp_path / "outputs" / "budget" / "checkpoints")[-1]
    assert newest.name == f"step_{found['steps']:06d}"
    output = finish(start(tmp_path, "budget", f"num_steps={found['steps'] + 1}", *settings))
    assert "resuming from" in output and summary(tmp_path, "budget")["steps"] == found["steps"] + 1


def test_a_run_that_is_stopped_before_its_first_update_writes_no_checkpoint_and_starts_anew(tmp_path):
    """While vLLM is awake, PyTorch would allocate the optimizer's first moments on the GPU to write them."""
    cfg, folder = compose_config([f"model.path={TINY}", "evaluation.num_problems=2"]), RunFolder(tmp_path)

    def evaluate(problems: object, greedy: bool) -> None:
        append_rows(folder.samples, [{"step": 0}])
        raise Interrupted

    rollout = SimpleNamespace(sleep=lambda: None, load_weights=lambda _: None)
    actor = SimpleNamespace(call=lambda *_, **__: None)
    trio = SimpleNamespace(rollout=rollout, actor=actor, timer=PhaseTimer(), save=lambda path: (path / "hf").touch())
    monitor = SimpleNamespace(resume=folder.rewind, say=print, budget_exceeded=lambda _: False, tokens=0)
    for _ in range(2):
        training = train_grpo.Training(cfg, folder, trio, None, monitor)
        training.evaluate = evaluate
        with pytest.raises(Interrupted):
            training.run()
        assert list(read_rows(folder.samples, ["step"])) == [{"step": 0}] and not list_checkpoints(folder.checkpoints)


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_a_signal_ends_the_run_with_a_checkpoint_and_no_process_left(tmp_path, number):
    process = start(tmp_path, "stopped", "num_steps=1000", "tracker=none", "algorithm.kl.coef=0")
    wait_for_step(tmp_path, "stopped", 2)
    children = descendants(process)
    assert ray_actors(children, "Actor") and not ray_actors(children, "Reference")  # kl.coef=0 needs no reference
    # A terminal's Ctrl-C and `timeout` signal the whole process group.
    asked = time.monotonic()
    os.killpg(process.pid, number)
    output = finish(process)
    assert time.monotonic() - asked < NOTICE_SECONDS
    assert "the same command resumes from the last checkpoint" in output
    assert '"state":"stopped"' in (tmp_path / "outputs" / "stopped" / "report.html").read_text()
    checkpoints = list_checkpoints(tmp_path / "outputs" / "stopped" / "checkpoints")
    assert checkpoints
    verify_checkpoint(checkpoints[-1])
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive


def test_a_machine_taken_away_in_the_middle_of_a_step_costs_only_the_steps_since_the_checkpoint(straight, tmp_path):
    """As if a step took longer than the notice: everything is killed before the run can answer the signal."""
    process = start(tmp_path, "spot", "num_steps=10", "tracker=none")
    wait_for_step(tmp_path, "spot", 6)
    processes = [psutil.Process(process.pid), *descendants(process)]
    process.send_signal(signal.SIGTERM)
    for each in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    process.wait()
    assert not (tmp_path / "outputs" / "spot" / "summary.json").exists()
    output = finish(start(tmp_path, "spot", "num_steps=10", "tracker=none"))
    assert "resuming from" in output and "step_000005" in output
    assert summary(tmp_path, "spot")["weights_sha256"] == summary(straight[0], "straight")["weights_sha256"]


# A small disk for outputs/, which is full while `ballast` is on it. The checkpoints have 9.5 MB each.
FULL_DISK = """
mkdir outputs && mount -t tmpfs -o size=30m tmpfs outputs && head -c 14M /dev/zero > outputs/ballast || exit 1
"$@"; echo "exit code $?"
ls -A outputs/full/checkpoints
rm outputs/ballast
"$@"; echo "exit code $?"
cp outputs/full/summary.json .
"""
NAMESPACE = ["unshare", "--map-root-user", "--mount"]


@pytest.mark.slow
def test_a_disk_that_fills_during_a_checkpoint_keeps_the_last_one_and_the_run_goes_on_with_more_space(tmp_path):
    if subprocess.run([*NAMESPACE, "true"], check=False).returncode:
        pytest.skip("this machine does not let a test mount a file system")
    settings = ["num_steps=3", "checkpoint.every=1", "checkpoint.keep=1", "evaluation.every=0", "tracker=none"]
    train = [sys.executable, str(ROOT / "train_grpo.py"), *SETTINGS, "run=full", *settings]
    command = [*NAMESPACE, "sh", "-c", FULL_DISK, "sh", *train]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=400)
    full, again = done.stdout.split("exit code 1\n")
    assert done.stderr.splitlines()[-1].startswith("error: ") and "No space left on device; free disk" in done.stderr
    assert again.splitlines()[0] == "step_000001"
    assert "resuming from" in again and again.endswith("exit code 0\n")
    assert json.loads((tmp_path / "summary.json").read_text())["steps"] == 3


@pytest.mark.slow
def test_a_run_whose_model_download_stopped_goes_on_when_it_is_started_again(tmp_path):
    files = {path.name: path.read_bytes() for path in TINY.iterdir()}
    with serving(Hub("lab/tiny", files, broken={"model.safetensors"})) as hub:
        settings = ["model.path=lab/tiny", "num_steps=1", "tracker=none"]
        environment = hub.environment(tmp_path / "hub")
        first = start(tmp_path, "fetched", *settings, environment=environment)
        output, _ = first.communicate(timeout=100)
        assert first.returncode == 2 and "error: the download of model.path=lab/tiny stopped" in output
        hub.broken = set()
        finish(start(tmp_path, "fetched", *settings, environment=environment))
        assert [name for name, _ in hub.fetched].count("model.safetensors") == 1
    assert summary(tmp_path, "fetched")["steps"] == 1
