"""sample_traces.py: its settings, the files it writes, and with Ray, vLLM and the shipped tiny model as a command."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors.torch
from datasets import load_dataset

import evaluate
import sample_traces
from conf.compose import compose_traces
from envs.countdown.corpus import all_derivations, line
from envs.countdown.task import Countdown
from envs.grading import grade
from grpo.types import Completion, Score
from inference.results import problem_row
from inference.runner import run
from workers.interrupt import Interrupted
from workers.models import load_tokenizer

ROOT = Path(__file__).parent.parent
TINY = str(ROOT / "envs/countdown/models/tiny")
FILES = ("data.jsonl", "rejected.jsonl", "README.md", "summary.json")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["filters=[correct,lucky]"], "filters must be one of correct, format"),
        (["thresholds.max_repetition=2"], "thresholds.max_repetition must be in 0..1, got 2"),
        (["thresholds.k=0"], "thresholds.k must be >= 1, got 0"),
        (["reward.language=xx"], "language must be one of en, zh"),
        (["build=tour"], "build must be one of journey, shortcut, shortcut_tokens, got tour"),
        (["build=journey", "strategy=greedy"], "build=journey needs several samples"),
        (["journey.max_wrong=0"], "journey.max_wrong must be >= 1, got 0"),
        (["write_style=poem"], "write_style must be one of base, chat, tiny, got poem"),
        (["license='do what you want'"], "license must be an identifier"),
        (["num_samples=0"], "strategy.n must be >= 1, got 0"),
        (["thresholds.min_length=1"], "thresholds.min_length: unknown key"),
    ],
)
def test_invalid_settings_are_named(overrides, message):
    with pytest.raises(ValueError) as error:
        compose_traces(overrides, {})
    assert message in str(error.value)


def test_settings_follow_the_model_the_task_and_the_number_of_samples():
    cfg = compose_traces(["num_samples=3", "reward.language=zh"], {})
    assert cfg.strategy.n == 3 and cfg.thresholds.language == "zh" and cfg.env.num_numbers == [3]
    assert cfg.journey.max_tokens == cfg.model.max_completion_tokens == 192
    assert cfg.output_folder == cfg.samples_folder == Path("outputs/traces-tiny-countdown")
    assert compose_traces(["run=abc"], {}).output_folder == Path("outputs/abc/traces")
    shared = compose_traces(["output=outputs/b", "samples=outputs/a"], {})
    assert (shared.output_folder, shared.samples_folder) == (Path("outputs/b"), Path("outputs/a"))


def test_a_task_whose_traces_have_no_verdicts_has_no_journeys():
    cfg = compose_traces(["env=multiplication", "build=journey", "num_problems=4"], {})
    with pytest.raises(ValueError, match="build=journey: the tiny models' traces of env multiplication"):
        sample_traces.make_problems(cfg)


def test_a_held_out_problem_is_refused_before_anything_is_sampled(monkeypatch):
    cfg = compose_traces(["num_problems=4", "evaluation.num_problems=4"], {})
    held_out = cfg.env.eval_set(4)
    monkeypatch.setattr(Countdown, "problem", lambda self, seed, split, index: held_out[index % 4])
    with pytest.raises(ValueError) as error:
        sample_traces.make_problems(cfg)
    assert repr(held_out[0].key) in str(error.value)


def test_a_file_that_holds_nothing_out_has_traces(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"problem": f"{n}?", "answer": n}) + "\n" for n in range(8)))
    cfg = compose_traces(["env=jsonl", f"env.path={path}", "env.eval_fraction=0", "num_problems=8"], {})
    assert len(sample_traces.make_problems(cfg).sampled) == 8


class Guesser:
    """An engine that writes one random attempt, or sometimes none, with the vocabulary of the tiny model."""

    def __init__(self):
        self.tokenizer = load_tokenizer(TINY)

    def encode(self, text):
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def decode(self, token_ids):
        return self.tokenizer.decode(list(token_ids), skip_special_tokens=True)

    def fits(self, prompt):
        return True

    def generate(self, requests):
        completions = []
        for request in requests:
            rng = random.Random(request.seed)
            _, target, _, *numbers = request.prompt.partition("\n")[0].split()
            one = rng.choice(all_derivations(tuple(sorted(map(int, numbers)))))
            expression = one.expression.replace("(", "( ").replace(")", " )")
            text = f"{line(one, int(target))}</think> <answer> {expression} </answer>"
            ids = (*self.encode(text), self.tokenizer.eos_token_id) if rng.random() < 0.9 else self.encode(" 1 + 1")
            reason = "stop" if len(ids) > 3 else "length"
            completions.append(Completion((), ids, self.decode(ids), (-0.5,) * len(ids), reason, 0))
        return completions


@pytest.fixture
def sampling(tmp_path, monkeypatch):
    """Runs the command in a temporary folder, with the guesser instead of a model; with `stop_after`, it is
    interrupted after this many problems."""
    monkeypatch.chdir(tmp_path)
    stop_after: list[int] = []
    solved: list[str] = []

    def solve(cfg, problems, results):
        rows = {}
        strategy = evaluate.make_strategy(cfg)
        for count, (index, output) in enumerate(run(strategy, problems, Guesser(), None, cfg.max_requests)):
            if stop_after and count == stop_after[0]:
                raise Interrupted
            problem = problems[index]
            scores: list[Score] = [grade(cfg.env, cfg.reward, problem, c.text, None) for c in output.candidates]
            rows[problem.key] = problem_row(problem, output, scores)
            results.add(rows[problem.key])
            solved.append(problem.key)
        results.add_spent(2.0, 1.0, 100, 0.5)
        return rows

    def command(*overrides, interrupted_after=None):
        stop_after[:] = [] if interrupted_after is None else [interrupted_after]
        solved.clear()
        settings = [f"model.path={TINY}", "num_problems=30", "num_samples=6", "max_requests=30", *overrides]
        monkeypatch.setattr(sys, "argv", ["sample_traces.py", *settings])
        sample_traces.main()
        return len(solved)

    monkeypatch.setattr(evaluate, "solve", solve)
    return command


def read(folder):
    return [json.loads(text) for text in Path(folder, "data.jsonl").read_text().splitlines()]


def test_an_interrupted_command_writes_the_same_files_as_an_uninterrupted_one(sampling):
    assert sampling("output=whole") == 30
    with pytest.raises(SystemExit) as stopped:
        sampling("output=parts", interrupted_after=12)
    assert stopped.value.code == 0 and not Path("parts/data.jsonl").exists()
    assert sampling("output=parts") == 18
    for name in ("data.jsonl", "rejected.jsonl", "README.md"):
        assert Path("whole", name).read_bytes() == Path("parts", name).read_bytes(), name
    assert sampling("output=other", "seed=1") == 30
    assert Path("whole/data.jsonl").read_bytes() != Path("other/data.jsonl").read_bytes()


def test_the_folder_is_a_data_set_with_a_summary(sampling, tmp_path):
    sampling("output=traces", "license=apache-2.0", "thresholds.k=1")
    summary = json.loads(Path("traces/summary.json").read_text())
    rows = read("traces")
    assert summary["rows"] == len(rows) == len({row["key"] for row in rows}) > 5
    assert summary["samples"] == 180 and summary["counts"][0][:2] == ["correct", 180]
    assert sum(summary["rejected"].values()) == 180 - len(rows)
    assert len(Path("traces/rejected.jsonl").read_text().splitlines()) == 180 - len(rows)
    assert summary["data_tokens"] == sum(row["tokens"] for row in rows)
    assert (summary["tokens"], summary["seconds"], summary["usd"]) == (100, 2.0, 0.5)
    assert len(summary["weights_sha256"]) == len(summary["data_sha256"]) == 64
    env = compose_traces([], {}).env
    held_out = {problem.key for problem in env.eval_set(512)}
    for row in rows:
        problem = env.read(row["problem"])
        assert (problem.key, problem.prompt) == (row["key"], row["prompt"]) and row["key"] not in held_out
        assert grade(env, compose_traces([], {}).reward, problem, row["completion"], None).correct
    loaded = load_dataset("traces", cache_dir=str(tmp_path / "cache"))["train"]
    assert list(loaded["completion"]) == [row["completion"] for row in rows]


def test_other_filters_and_builds_use_the_same_samples(sampling):
    """Journeys and their controls from one set of samples: the same problems, and the same number of tokens."""
    arms = {}
    for build in ("journey", "shortcut", "shortcut_tokens"):
        solved = sampling("samples=shared", f"build={build}", f"output={build}", "num_samples=40")
        assert solved == (30 if build == "journey" else 0)
        arms[build] = read(build)
    assert len(arms["journey"]) > 5
    assert [row["key"] for row in arms["journey"]] == [row["key"] for row in arms["shortcut"]]
    assert all(row["attempts"] > 1 for row in arms["journey"]) and all(row["attempts"] == 1 for row in arms["shortcut"])
    tokens = {build: sum(row["tokens"] for row in rows) for build, rows in arms.items()}
    assert tokens["shortcut"] < tokens["journey"]
    assert abs(tokens["shortcut_tokens"] - tokens["journey"]) <= max(row["tokens"] for row in arms["shortcut_tokens"])
    # Every token of a journey is in the vocabulary of the tiny model: nothing is lost by encoding.
    engine = Guesser()
    for row in arms["journey"]:
        assert engine.decode(engine.encode(row["completion"])) == row["completion"]
        assert row["tokens"] == len(engine.encode(row["completion"])) + 1 <= 192
    assert sampling("samples=shared", "output=more", "num_samples=40", "num_problems=35") == 5


def test_samples_of_other_settings_are_refused(sampling, capsys):
    sampling("output=traces")
    with pytest.raises(SystemExit):
        sampling("output=traces", "strategy.temperature=0.7")
    assert "choose another output=FOLDER, or remove the file" in capsys.readouterr().err


def test_samples_belong_to_the_weights_and_not_to_the_folder_they_are_in(sampling):
    sampling("output=traces")
    shutil.copytree(TINY, "moved")
    assert sampling("output=traces", "model.path=moved") == 0
    weights = safetensors.torch.load_file("moved/model.safetensors")
    name = next(iter(weights))
    safetensors.torch.save_file(weights | {name: weights[name] + 1}, "moved/model.safetensors", {"format": "pt"})
    with pytest.raises(SystemExit):
        sampling("output=traces", "model.path=moved")


def test_samples_belong_to_the_answers_of_the_problems(sampling, capsys):
    sampling("output=traces")
    samples = Path("traces/samples.jsonl")  # as if a file of problems had had another answer then
    samples.write_text(samples.read_text().replace('"problem_sha256": "', '"problem_sha256": "0'))
    with pytest.raises(SystemExit):
        sampling("output=traces")
    assert "has changed since traces/samples.jsonl was written; choose another output" in capsys.readouterr().err


def test_a_command_that_keeps_no_row_fails(sampling):
    with pytest.raises(SystemExit, match="no row is left; empty/rejected.jsonl names the filter"):
        sampling("output=empty", "thresholds.language=zh")
    assert len(Path("empty/rejected.jsonl").read_text().splitlines()) == 180
    assert not Path("empty/summary.json").exists()


def test_no_summary_of_earlier_rows_is_left_beside_others(sampling):
    sampling("output=traces")
    assert json.loads(Path("traces/summary.json").read_text())["rows"] > 0
    with pytest.raises(SystemExit, match="no row is left"):
        sampling("output=traces", "thresholds.language=zh")
    assert not read("traces") and not Path("traces/summary.json").exists()


def test_too_few_held_out_problems_are_told_from_training_problems():
    cfg = compose_traces(["env.max_number=4", "num_problems=2", "evaluation.num_problems=300"], {})
    with pytest.raises(ValueError, match="evaluation.num_problems=300 held-out problems: "):
        sample_traces.make_problems(cfg)


def test_prompts_are_written_for_another_family(sampling):
    sampling("output=tiny")
    sampling("output=chat", "samples=tiny", "write_style=chat")
    before, after = read("tiny"), read("chat")
    assert [row["key"] for row in before] == [row["key"] for row in after]
    for ours, theirs in zip(before, after, strict=True):
        assert theirs["completion"] == "\n" + ours["completion"]
        assert [turn["role"] for turn in theirs["prompt"]] == ["system", "user", "assistant"]


def start(folder: Path, *overrides: str) -> subprocess.Popen:
    settings = [f"model.path={TINY}", "num_problems=60", "num_samples=4", "max_requests=16", *overrides]
    return subprocess.Popen([sys.executable, str(ROOT / "sample_traces.py"), *settings], cwd=folder)


@pytest.mark.slow
def test_the_shipped_model_writes_the_same_file_when_interrupted(tmp_path):
    assert start(tmp_path, "output=whole").wait() == 0
    process = start(tmp_path, "output=parts")
    samples = tmp_path / "parts" / "samples.jsonl"
    while process.poll() is None and (not samples.exists() or samples.read_text().count('"key"') < 8):
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 0 and 8 <= samples.read_text().count('"key"') < 60
    assert start(tmp_path, "output=parts").wait() == 0
    for name in ("data.jsonl", "rejected.jsonl", "README.md"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes(), name
