from io import StringIO

from rich.console import Console

from run import terminal
from run.cost import Progress
from run.terminal import Terminal


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
