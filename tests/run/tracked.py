"""Metrics, samples and events of a synthetic run, for the tests of the trackers."""

import math

CONFIG = {
    "run": "sweeps/mine/job",
    "seed": 1,
    "model": {"name": "tiny", "lora": {"rank": 0}, "path": None},
    "env": {"name": "countdown", "num_numbers": [3]},
    "algorithm": {"name": "grpo"},
    "reward": {"weights": {"correct": 0.9, "answered": 0.1}},
}
SUMMARY = {"accuracy": {"final": {"sampled": 0.5, "n": 8}}, "steps": 3, "weights_sha256": "ab"}
EVENT = {"kind": "aha", "name": "tries", "message": "tries doubled", "before": 1.5, "after": 3.1}


def rows(step: int, kind: str = "eval") -> list[dict]:
    shared = {"step": step, "kind": kind, "prompt": "make 2\n", "components": {"correct": 1.0}, "truncated": False}
    first = {**shared, "key": "1 1 -> 2", "completion": " 1 + 1\n# no heading", "reward": 1.0, "correct": True}
    second = {**shared, "key": "1 2 -> 2", "completion": "", "reward": math.nan, "correct": False, "env": "other"}
    return [first, second]


def log_step(tracker, step: int, with_nan: bool = False) -> None:
    """Log what the Monitor logs for a training step that starts with an evaluation."""
    tracker.log_samples(step, "eval", rows(step))
    metrics = {
        "step": step,
        "reward/mean": 0.1 * step,
        "time/step": 2.0,
        "eval/sampled": 0.5 - 0.1 * step,
        "weights/checksum": "ab",
    }
    tracker.log(step, metrics | ({"policy/kl": math.nan, "policy/loss": math.inf} if with_nan else {}))
    tracker.log_samples(step, "train", rows(step, "train"))
