"""Synthetic run folders for the tests of the report."""

import json

# Text with which a model could try to break out of the HTML or JSON that contains it.
HOSTILE = (
    "</script><script>document.title='broken'</script><!-- {{DATA}} \u2028 "
    "<img src=x onerror=\"document.title='broken'\">"
)


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def sample(
    step, kind, key, correct, completion=" 16 - 8 = 8, 8 + 4 = 12 yes\n</think> <answer> 16 - 8 + 4 </answer>", **more
):
    return {
        "step": step,
        "kind": kind,
        "key": key,
        "prompt": f"make 12 from 16 8 4 ({key})\n<think>\n",
        "completion": completion,
        "reward": 1.0 if correct else 0.1,
        "correct": correct,
        "components": {"correct": float(correct)},
        "reason": "correct" if correct else "equals 3, not 12",
        "tokens": 20,
        "truncated": False,
        "env": "countdown",
        "fields": {"numbers": [16, 8, 4], "target": 12},
        "answer": "(16 - 8) + 4",
        "behaviors": ["verification"] if correct else [],
        "tries": 1,
    } | more


def make_run(path, seed=0, steps=4, summary=True):
    """Write a run of `steps` steps of 3 s and 1,000 tokens each, with evaluations at step 0, step 2 and the end."""
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(
        f"run: {path.name}\nseed: {seed}\nnum_steps: {steps}\nmodel: {{name: tiny}}\n"
        "env: {name: countdown}\nalgorithm: {name: grpo, kl: {coef: 0.0}}\n"
    )
    step_row = {
        "time/step": 3.0,
        "time/generate": 1.0,
        "time/update": 2.0,
        "rollout/tokens": 1000.0,
        "reward/mean": 0.5,
    }
    rows = [
        {"step": step, **step_row, "reward/accuracy": 0.2 + 0.1 * step, "weights/checksum": "ab"}
        for step in range(steps)
    ]
    for row in rows:
        row |= {"reflection/n": 256.0, "reflection/waits": 0.1 if row["step"] == 0 else 0.9}
    rows.append({"step": steps})
    for step, accuracy in ((0, 0.25), (2, 0.5), (steps, 0.75)):
        rows[step] |= {"eval/sampled": accuracy, "eval/n": 4.0, "eval/tries": 1.0 + step, "eval/length": 20.0 + step}
    rows[0]["eval/greedy"], rows[-1]["eval/greedy"] = 0.25, 0.5
    rows[1]["cost/usd"] = 0.5
    write_lines(path / "metrics.jsonl", rows)
    held_out = [sample(step, "eval", f"k{k}", k < 1 + step // 2) for step in (0, 2, steps) for k in range(4)]
    training = [sample(step, "train", f"t{step}", g == 0) for step in range(steps) for g in range(4)]
    write_lines(path / "samples.jsonl", held_out + training)
    aha = {"step": 3, "kind": "aha", "name": "waits", "since": 1, "message": "rose from 10% to 90%"}
    write_lines(path / "events.jsonl", [aha] if steps > 3 else [])
    if summary:
        (path / "summary.json").write_text(json.dumps({"steps": steps, "usd": 0.5}))
    return path
