from io import StringIO

from rich.console import Console

from run import terminal
from run.cost import Progress
from run.terminal import Terminal, last_step_facts


def test_lines_of_training_steps_are_at_least_a_second_apart_and_evaluations_are_always_shown(monkeypatch):
    now, output = [0.0], StringIO()
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    shown = Terminal(Progress(4, None), Console(file=output, width=200))
    for seconds in (10.0, 10.4, 10.8, 11.2):
        now[0] = seconds
        shown.show(int(seconds * 10), {"time/step": 0.4, "data/loss": seconds})
    shown.show(113, {"eval/loss": 0.5})
    lines = output.getvalue().splitlines()
    assert [line.split()[-1] for line in lines] == ["10.0000", "11.2000", "0.5000"]


def test_the_longest_phases_of_a_step_are_those_within_it():
    within = {"time/generate": 3.0, "time/update": 1.5, "time/score": 0.5}
    outside = {"time/evaluate": 9.0, "time/checkpoint": 8.0, "time/monitor": 7.0}
    facts = last_step_facts({"time/step": 5.2, **within, **outside, "memory/resident_gb": 2.0})
    assert facts == "5.2 s per step: generate 3.0, update 1.5, score 0.5   2.0 GB of memory"
