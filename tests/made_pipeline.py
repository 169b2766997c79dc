"""Synthetic stages of a pipeline: what the entry points write, without a model."""

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

from omegaconf import OmegaConf

from conf.pipelines import PipelineConfig, StageConfig
from envs.countdown.task import Countdown
from pipelines.commands import Pipeline

HELD_OUT = Countdown(num_numbers=[3], max_number=20, max_value=200, operations="+-*", prompt_style="tiny").eval_set(4)
COMPLETION = " 13 + 5 = 18, 18 + 2 = 20 yes\n</think> <answer> 13 + 5 + 2 </answer>"  # solves the first of them


def small_pipeline(**settings):
    """RL, traces of it, SFT of the base on them: r1 in small."""
    stages = {
        "zero": StageConfig("rl", "base", overrides=["num_steps=2"], arm="RL alone"),
        "rows": StageConfig("traces", "zero", overrides=["num_problems=4"], arm="SFT"),
        "tuned": StageConfig("sft", "base", {"rows": None}, arm="SFT"),
    }
    defaults = {"name": "small", "run": "small", "model": "tiny", "env": "countdown", "stages": stages}
    return Pipeline(PipelineConfig(**{**defaults, **settings}))


def finish(entry_point, overrides, accuracy=0.5, text=COMPLETION):
    """Write what an entry point with these overrides writes."""
    given = dict(override.split("=", 1) for override in overrides)
    if entry_point == "evaluate.py":
        return write_evaluation(Path(given["output"]), accuracy, text)
    if entry_point == "sample_traces.py":
        return write_traces(Path(given["output"]))
    folder = Path("outputs", given["run"])
    weights = folder / "checkpoints" / "step_000002" / "hf"
    weights.mkdir(parents=True, exist_ok=True)
    identity = hashlib.sha256(" ".join(overrides).encode()).hexdigest()
    (weights / "model.safetensors").write_text(identity)
    (folder / "config.yaml").write_text(OmegaConf.to_yaml({"num_steps": 2, "num_tokens": None}))
    summary = {"steps": 2, "tokens": 1000, "seconds": 6.0, "usd": 0.25, "weights_sha256": identity}
    (folder / "summary.json").write_text(json.dumps(summary))
    return None


def write_evaluation(folder, accuracy, text):
    """The first problems are solved by all their 4 samples, so that `accuracy` of all are."""
    (folder / "eval").mkdir(parents=True, exist_ok=True)
    rows = [{"settings": {}}]
    for index, problem in enumerate(HELD_OUT):
        correct = index < accuracy * len(HELD_OUT)
        candidate = {"text": text, "correct": correct, "tokens": 20, "finish_reason": "stop", "reason": "because"}
        candidate |= {"answer": "13 + 5 + 2", "logprob": -2.0}
        row = {"key": problem.key, "correct": correct, "chosen": 0, "tokens": 80, "rounds": 1, "details": {}}
        rows.append(row | {"problem_sha256": "", "candidates": [candidate] * 4})
    (folder / "eval" / "accuracy.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    interval = {"mean": accuracy, "low": accuracy - 0.1, "high": accuracy + 0.1}
    summary = {
        "problems": len(HELD_OUT),
        "accuracy": interval,
        "pass_at": {"1": interval, "4": interval},
        "majority_at": {"1": interval, "4": interval | {"mean": accuracy + 0.05}},
        "spent": {"seconds": 3.0, "tokens": 320, "usd": 0.1},
    }
    (folder / "eval" / "accuracy.json").write_text(json.dumps(summary))


def write_traces(folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data.jsonl").write_text(json.dumps({"prompt": "make", "completion": COMPLETION}) + "\n")
    summary = {
        "rows": 1,
        "counts": [["correct", 16, 3], ["at_most_k", 3, 1]],
        "tokens": 500,
        "seconds": 2.0,
        "usd": 0.05,
    }
    (folder / "summary.json").write_text(json.dumps(summary))


def run_as_entry_point(arguments):
    """What a stub of an entry point does. The file `behave` in the working folder says how a stage ends: "stop" sends
    the pipeline the signal to stop and waits for it, "fail" fails."""
    entry_point, *overrides = arguments
    given = dict(override.split("=", 1) for override in overrides)
    name = given.get("run", given.get("output", "")).rsplit("/", 1)[-1]
    with Path("started").open("a") as file:
        file.write(name + "\n")
    how, _, stage = Path("behave").read_text().partition(" ") if Path("behave").is_file() else ("", "", "")
    if stage == name and how == "fail":
        sys.exit(3)
    if stage == name and how == "stop":
        Path("outputs", "small", name).mkdir(parents=True)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        os.kill(os.getppid(), signal.SIGTERM)
        time.sleep(60)
    finish(entry_point, overrides)
