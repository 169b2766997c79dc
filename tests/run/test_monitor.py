import dataclasses
import io
import json
import re
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from envs.countdown.task import Countdown
from envs.env import Env
from envs.questions.task import Questions
from grpo.advantages import ADVANTAGES
from grpo.grpo import make_batch
from grpo.settings import AdvantageConfig
from grpo.types import Group, Problem, Rollout, Score
from report import write_report
from run.cost import Meter, Price, Progress
from run.evaluation import Evaluation
from run.files import read_rows
from run.folder import RunFolder, flatten
from run.metrics import DiscardedRollouts, group_metrics, mismatch_metrics, policy_metrics, rollout_metrics
from run.monitor import Monitor, summarize
from run.reflection import read_groups
from run.terminal import Terminal, print_end, sparkline, transcripts
from run.trackers import Trackers
from tests.builders import PROBLEM, completion, group_of, random_batch


def test_rollout_metrics_by_hand():
    groups = [group_of([1.0, 0.0], [2, 4]), group_of([0.0, 0.0], [1, 1]), group_of([1.0, 1.0], [3, 1])]
    metrics = rollout_metrics(groups, read_groups(Countdown(), groups))
    assert metrics["reward/mean"] == 0.5 and metrics["reward/accuracy"] == 0.5
    assert [metrics[f"solved/{part}"] for part in ("none", "some", "all")] == pytest.approx([1 / 3] * 3)
    assert metrics["length/mean"] == 2 and metrics["length/max"] == 4 and metrics["rollout/tokens"] == 12


def test_groups_count_as_equal_if_all_their_advantages_are_0():
    split, equal, unsolved = group_of([1.0, 0.0]), group_of([1.0, 1.0]), group_of([0.1, 0.0])
    groups = [split, equal, unsolved]
    for of, expected in (("rewards", 1 / 3), ("pass_at_k", 2 / 3)):
        advantages = ADVANTAGES[of](groups, AdvantageConfig(of, k=1), {})
        assert group_metrics(make_batch(groups, advantages)) == {"reward/equal_groups": pytest.approx(expected)}


def test_failures_of_the_grader_count_in_whatever_was_generated():
    def failing(group, *, first):
        failed = (replace(rollout, score=replace(rollout.score, error="took too long")) for rollout in group.rollouts)
        return replace(group, rollouts=(*group.rollouts[:first], *list(failed)[first:]))

    trained = failing(group_of([1.0, 0.0], [2, 4]), first=1)
    dropped = failing(group_of([0.0, 0.0], [1, 1]), first=0)
    discarded = DiscardedRollouts()
    discarded.add("dropped", [dropped])
    metrics = discarded.read([trained])
    assert metrics["reward/errors"] == 3 and metrics["rollout/tokens"] == 8
    sampled, greedy = (failing(group_of([0.0]), first=0) for _ in range(2))
    behaviors = read_groups(Countdown(), [sampled])
    assert Evaluation([sampled], [greedy]).metrics(behaviors)["eval/errors"] == 2


def test_mismatch_is_over_loss_tokens_alone():
    batch = random_batch([2, 4])
    old = batch.behavior_logprobs + 0.5
    metrics = mismatch_metrics(batch, torch.where(batch.mask, old, 99.0))
    assert metrics["mismatch/max_gap"] == pytest.approx(0.5)
    assert metrics["mismatch/ratio_p50"] == pytest.approx(torch.tensor(0.5).exp().item())


def monitor_of(
    folder: RunFolder, console: Console, progress: Progress, seconds: float = 0.0, env: Env | None = None
) -> Monitor:
    meter = Meter(seconds, seconds, Price(3600.0, 0.0, "a dollar a second"))
    trackers = Trackers(folder.path, console.print)
    return Monitor(env or Countdown(), folder, trackers, Terminal(progress, console), meter)


def log_step(monitor: Monitor, step: int, group, **more) -> None:
    batch = make_batch([group], torch.zeros(len(group.rollouts)))
    metrics = policy_metrics({"entropy": 0.2, "grad_norm": 0.1}) | mismatch_metrics(batch, batch.behavior_logprobs)
    metrics |= group_metrics(batch)
    monitor.log(step, [group], metrics | DiscardedRollouts().read([group]) | more, {"generate": 1.0}, 2.0)


def test_a_step_and_its_evaluation_share_a_line(tmp_path):
    folder, progress = RunFolder(tmp_path), Progress(2)
    console = Console(file=io.StringIO(), width=200)
    with monitor_of(folder, console, progress, seconds=100) as monitor:
        half = [group_of([1.0]), group_of([0.0])]
        monitor.log_evaluation(0, Evaluation(half, half))
        log_step(monitor, 0, group_of([1.0, 0.0], [10, 20]))
        log_step(monitor, 1, group_of([1.0, 0.0], [10, 20]))
        monitor.log_evaluation(2, Evaluation([group_of([1.0])], [group_of([1.0])]))
        monitor.log_end(2, {"evaluate": 7.0, "checkpoint": 1.5})
    rows = list(read_rows(folder.metrics))
    assert [row["step"] for row in rows] == [0, 1, 2] and rows[0]["eval/sampled"] == 0.5
    assert progress.steps == 2 and progress.tokens == 60
    assert rows[2]["time/evaluate"] == 7 and progress.longest == {"time/evaluate": 7.0, "time/checkpoint": 1.5}
    assert rows[1]["time/monitor"] > 0 and rows[1]["memory/resident_gb"] > 0
    summary = summarize(folder, monitor.meter.price, weights_sha256="ab")
    assert summary["accuracy"]["step0"]["sampled"] == 0.5 and summary["accuracy"]["final"]["greedy"] == 1.0
    assert summary["steps"] == 2 and summary["seconds"] == 4.0 and summary["tokens"] == 60
    assert summary["usd"] == pytest.approx(100, abs=5) and summary["usd_per_hour"] == 3600.0
    assert "held-out accuracy 50.0%" in console.file.getvalue()


def log_one_step(folder: RunFolder, console: Console, group: Group, env: Env | None = None) -> None:
    """Log and print a run of one step whose evaluations have the same completions as the step."""
    with monitor_of(folder, console, Progress(1), env=env) as monitor:
        monitor.log_evaluation(0, Evaluation([group], [group]))
        log_step(monitor, 0, group)
        monitor.log_evaluation(1, Evaluation([group], [group]))
        monitor.log_end(1, {})
        monitor.finish("ab")
        print_end(console, folder)


TWO_LINES = "2 * 3 = 6\n6 + 1 = 7\n</think> <answer>7</answer>"


def run_of_one_step(path, env: Env, problem: Problem) -> tuple[dict, list[dict], str]:
    """The summary, the metrics and the terminal output of a run whose completions are all TWO_LINES."""
    rollout = Rollout(completion(text=TWO_LINES), Score(1.0, True, {"correct": 1.0}, "correct"))
    group, folder = Group(problem, (rollout,)), RunFolder(path)
    output = io.StringIO()
    log_one_step(folder, Console(file=output, width=200), group, env)
    return json.loads(folder.summary.read_text()), list(read_rows(folder.metrics)), output.getvalue()


def test_tries_are_counted_by_the_trace_reader_of_the_task(tmp_path):
    # One attempt: its second line uses the 6 that its first line computed.
    summary, rows, output = run_of_one_step(tmp_path, Countdown(), PROBLEM)
    assert rows[0]["rollout/tries"] == rows[0]["eval/tries"] == rows[0]["reflection/tries"] == 1
    assert summary["tries"] == {"step0": 1, "final": 1}
    assert "tries per completion 1.00" in output
    assert {row["tries"] for row in read_rows(tmp_path / "samples.jsonl")} == {1}


def test_a_task_without_a_trace_language_has_no_tries(tmp_path):
    env = Questions("gsm8k", path="unread")
    summary, rows, output = run_of_one_step(tmp_path, env, env.read({"question": "How many?", "answer": "7"}))
    assert not [name for row in rows for name in row if "tries" in name]
    assert "tries" not in summary and "tries" not in output
    assert {row["tries"] for row in read_rows(tmp_path / "samples.jsonl")} == {None}
    page = write_report([tmp_path]).read_text()
    embedded = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert not any(row.pop("tries") for row in embedded["samples"]["rows"])
    (run,) = embedded["runs"]
    assert not [name for name, value in run.pop("figures").items() if "tries" in name and value is not None]
    assert re.search(r"\btries\b", json.dumps(embedded), re.IGNORECASE) is None


def test_an_alert_is_written_said_and_dropped_when_the_run_is_rewound(tmp_path):
    folder, console = RunFolder(tmp_path), Console(file=io.StringIO(), width=300)
    with monitor_of(folder, console, Progress(9)) as monitor:
        for step in range(7):
            log_step(monitor, step, group_of([0.0, 0.0]))
    (event,) = [row for row in folder.event_rows() if row["name"] == "equal_groups"]
    assert event["kind"] == "alert" and event["step"] == 4 and "100%" in event["message"]
    assert "alert: in 100% of the groups all advantages are 0, as with equal rewards" in console.file.getvalue()
    folder.rewind(4)
    assert folder.event_rows() == []


def test_the_screen_tells_phases_memory_and_dollars(tmp_path):
    console = Console(file=io.StringIO(), width=200, force_terminal=True)
    with monitor_of(RunFolder(tmp_path), console, Progress(4), seconds=100) as monitor:
        log_step(monitor, 0, group_of([1.0, 0.0]))
    shown = console.file.getvalue()
    assert "2.0 s per step: generate 1.0" in shown and "GB of memory" in shown and "so far" in shown


def test_rewinding_drops_later_lines_and_a_torn_one(tmp_path):
    folder = RunFolder(tmp_path)
    for step in range(4):
        folder.add_metrics({"step": step, "x": step})
    with folder.metrics.open("a") as file:
        file.write('{"step": 4, "x"')
    folder.rewind(3)
    assert [row["step"] for row in read_rows(folder.metrics)] == [0, 1, 2]


def test_a_step_that_fails_again_replaces_the_data_of_its_first_failure(tmp_path):
    group, behaviors = group_of([1.0, 0.0]), read_groups(Countdown(), [group_of([1.0, 0.0])])
    batch = make_batch([group], torch.zeros(2))
    for _ in range(2):
        saved = RunFolder(tmp_path).save_step(3, batch, [group], behaviors)
    assert len(list(read_rows(saved / "completions.jsonl"))) == len(batch.input_ids) == 2


def test_transcripts_show_first_what_was_learned(tmp_path):
    folder = RunFolder(tmp_path)
    learned, known = group_of([0.0]), group_of([1.0])
    known = dataclasses.replace(known, problem=dataclasses.replace(known.problem, key="known"))
    folder.add_samples(0, "eval", [known, learned], read_groups(Countdown(), [known, learned]))
    solved = dataclasses.replace(learned, rollouts=known.rollouts)
    folder.add_samples(5, "eval", [known, solved], read_groups(Countdown(), [known, solved]))
    assert len(transcripts(folder.samples, 5)) == 2
    rows = [json.loads(line) for line in folder.samples.read_text().splitlines()]
    assert rows[1]["key"] == learned.problem.key and not rows[1]["correct"]


def test_sparkline_by_hand():
    assert sparkline([0, 1, 2, 3.5, 7]) == "▁▂▃▄█" and sparkline([]) == "" and sparkline([2, 2]) == "▁▁"


def test_flatten_by_hand():
    assert flatten({"a": 1, "b": {"c": 2, "d": {"e": 3}}}) == {"a": 1, "b.c": 2, "b.d.e": 3}


def test_progress_goes_by_steps_or_by_tokens_whichever_is_nearer_to_its_end():
    progress = Progress(1000, num_tokens=4000)
    assert progress.seconds_left is None and progress.share == 0
    other, near = Progress(4), Progress(2)
    for _ in range(2):
        for one in (progress, other, near):
            one.add({"rollout/tokens": 1000.0, "time/step": 60.0})
    # half of the tokens in two minutes: two more
    assert progress.share == 0.5 and progress.seconds_left == 120.0
    assert progress.step_label(1) == "step 1, 2,000/4,000 tokens"
    assert other.share == 0.5 and other.step_label(1) == "step 1/4"
    assert near.seconds_left is None


def test_tokens_that_were_not_trained_on_are_counted_and_named():
    spent = DiscardedRollouts()
    spent.add("tried", [group_of([1.0, 0.0], [3, 3])])
    spent.add("dropped", [group_of([0.0, 0.0], [2, 2]), group_of([1.0, 1.0], [1, 1])])
    assert spent.read([group_of([1.0, 0.0], [4, 5])]) == {
        "rollout/tokens": 9 + 6 + 6,
        "reward/errors": 0,
        "rollout/tried_groups": 1,
        "rollout/tried_tokens": 6,
        "rollout/dropped_groups": 2,
        "rollout/dropped_tokens": 6,
    }
    assert spent.read([group_of([1.0, 0.0], [4, 5])]) == {"rollout/tokens": 9, "reward/errors": 0}


ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m\x08\r\u202e</think> <answer> 1 </answer>"


@pytest.mark.parametrize("live", [True, False])
def test_escape_codes_in_completions_do_not_reach_the_terminal(tmp_path, live):
    problem = dataclasses.replace(PROBLEM, key="../../\x1b[2J", prompt=f"make {ESCAPES}")
    score = Score(1.0, True, {"correct": 1.0}, ESCAPES)
    group = Group(problem, (Rollout(completion(text=ESCAPES), score),))
    folder, output = RunFolder(tmp_path / "run"), io.StringIO()
    folder.path.mkdir()
    log_one_step(folder, Console(file=output, width=200, force_terminal=live), group)
    shown = output.getvalue()
    assert r"\x1b]0;owned" in shown
    for code in ("\x1b]", "\x1b[2J", "\x9b", "\x07", "\x08", "\u202e"):
        assert code not in shown
    # Nothing that the model wrote is part of a file's name, and its files are safe to print as well.
    assert {path.name for path in tmp_path.rglob("*")} <= {
        "run",
        "metrics.jsonl",
        "samples.jsonl",
        "spent.json",
        "summary.json",
    }
    assert "\x1b" not in folder.samples.read_text() + write_report([folder.path]).read_text()


def log_waits(monitor: Monitor, step: int, share: float) -> None:
    metrics = {"reflection/n": 256.0, "reflection/waits": share, "reward/equal_groups": 1.0}
    monitor.log_update(step, {"rollout/tokens": 4.0, **metrics}, {"generate": 1.0}, 2.0)


def test_a_share_that_leaves_its_band_again_is_a_new_aha_event(tmp_path):
    folder = RunFolder(tmp_path)
    folder.samples.touch()
    with monitor_of(folder, Console(file=io.StringIO()), Progress(20)) as monitor:
        for step, share in enumerate([0.1, 0.9, 0.9, 0.9, 0.1, 0.9, 0.9, 0.9, 0.9]):
            log_waits(monitor, step, share)
    assert [(row["step"], row["since"]) for row in folder.event_rows() if row["kind"] == "aha"] == [(3, 1), (7, 5)]


def test_a_resumed_run_goes_on_where_its_monitor_was(tmp_path):
    """Alerts that were raised and aha events that were reported before are not repeated."""
    folder = RunFolder(tmp_path)
    folder.samples.touch()

    def log(monitor: Monitor, step: int) -> None:
        log_waits(monitor, step, 0.1 if step == 0 else 0.9)

    with monitor_of(folder, Console(file=io.StringIO()), Progress(20)) as monitor:
        for step in range(8):
            log(monitor, step)
    told = folder.event_rows()
    assert {event["name"] for event in told} == {"equal_groups", "waits"}
    with monitor_of(folder, Console(file=io.StringIO()), Progress(20)) as monitor:
        monitor.resume(8)
        assert monitor.progress.steps == 8 and monitor.progress.tokens == 8 * 4
        for step in range(8, 12):
            log(monitor, step)
    assert folder.event_rows() == told
