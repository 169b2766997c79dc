"""The code checker, and answers that try to pass without solving the problem."""

import textwrap
import time

import pytest

from envs.code.checker import MAX_LENGTH, check_code, source_of
from envs.code.sandbox import Limits, SandboxError

FAST = Limits(seconds=5.0)
DOUBLE = {
    "function": "double",
    "tests": [{"args": [n], "expected": 2 * n} for n in (1, 2, 3, -4, 0)],
}
RIGHT = "def double(n):\n    return 2 * n"


def verdict(answer, fields=DOUBLE, limits=FAST):
    return check_code(answer, fields, limits)


def test_a_correct_answer_passes_with_and_without_a_code_fence():
    for answer in (
        RIGHT,
        f"```python\n{RIGHT}\n```",
        f"```\n{RIGHT}\n```\n",
        f"import math\n{RIGHT}\nprint(double(3))",
    ):
        assert verdict(answer).correct and verdict(answer).well_formed


@pytest.mark.parametrize(
    "answer",
    [
        "``` python\nx\n```",
        "```python\r\nx\r\n```\r\n",
        "~~~\nx\n~~~",
        "~~~~ py\nx\n~~~~",
        "````python\nx\n````",
        '```python title="a.py" {1,2}\nx\n```',
        "```c++\nx\n```",
        "```\r\nx\r\n```",
        "  ```\nx\n  ```",
    ],
)
def test_a_fence_may_have_spaces_an_info_string_tildes_and_other_line_ends(answer):
    assert source_of(answer) == "x"


def test_a_fence_ends_with_its_own_sign():
    assert source_of("~~~\nx\n```") == "~~~\nx\n```"
    assert source_of("x = 1\r\ny = 2") == "x = 1\ny = 2"


def test_a_fence_around_very_much_white_space_takes_no_time():
    started = time.monotonic()
    assert source_of("```\n" + " " * 100_000 + "x") == "```\n" + " " * 100_000 + "x"
    assert source_of("```\n" + " \n" * 50_000 + "x\n```").endswith("x")
    assert time.monotonic() - started < 1


def test_only_a_fence_around_the_whole_answer_is_removed():
    assert source_of("```py\nx\n```") == "x"
    assert source_of("x = '```'") == "x = '```'"
    assert source_of("so:\n```\nx\n```") == "so:\n```\nx\n```"


@pytest.mark.parametrize("answer", [None, "", "  \n"])
def test_no_answer(answer):
    assert verdict(answer).reason == "no answer"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("def double(n) return", "SyntaxError: expected ':' in line 1"),
        ("x = 1", "does not define double"),
        ("double = 3", "does not define double"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit()", "SystemExit"),
        ("import os\nos._exit(0)", "ended with exit code 0"),
        ("(" * 5000, "SyntaxError: too many nested parentheses in line 1"),
        ("a\0b", "null bytes"),
        ("\ud800", "surrogates not allowed"),
        ("#" * (MAX_LENGTH + 1), "longer than 20000 characters"),
    ],
)
def test_an_answer_that_does_not_define_the_function_is_not_well_formed(answer, reason):
    found = verdict(answer)
    assert not found.correct and not found.well_formed and reason in found.reason


def test_source_that_crashes_the_parser_crashes_only_the_sandbox():
    for answer in ("-" * 19_000 + "1", "x" + ".a" * 9_000, "lambda: " * 2_400 + "1", "[" * 90 + "]" * 90, "{**" * 5000):
        assert not verdict(answer).correct


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("def double(n): return 3 * n", "test 1 of 5: double(1) gave 3, not 2"),
        ("def double(n): return str(2 * n)", "test 1 of 5: double(1) gave '2', not 2"),
        ("def double(n): return 2.0 * n", "test 1 of 5: double(1) gave 2.0, not 2"),
        ("def double(n): return [2, 4, 6, -8, 0]", "gave [2, 4, 6, -8, 0], not 2"),
        ("def double(n): print(2 * n)", "test 1 of 5: double(1) gave None, not 2"),
        ("def double(n): raise ValueError(n)", "test 1 of 5: double(1) raised ValueError: 1"),
        ("def double(): return 2", "raised TypeError"),
        ("def double(n): yield 2 * n", "gave a value of type generator, not plain data"),
        ("def double(n): return 2 * n if n > 0 else None", "test 4 of 5: double(-4) gave None, not -8"),
    ],
)
def test_the_verdict_names_the_failing_test_and_the_reason(answer, reason):
    found = verdict(answer)
    assert not found.correct and found.well_formed and reason in found.reason


def test_a_correct_prefix_of_the_result_is_wrong():
    """A comparison with zip would accept a result that stops early."""
    for tests_passed in range(5):
        answer = (
            f"calls = []\ndef double(n):\n    calls.append(n)\n    return 2 * n if len(calls) <= {tests_passed} else 1"
        )
        found = verdict(answer)
        assert not found.correct and f"test {tests_passed + 1} of 5" in found.reason
    lists = {"function": "f", "tests": [{"args": [], "expected": [1, 2, 3]}]}
    for result in ("[1, 2]", "[1]", "[]", "[1, 2, 3, 4]", "(1, 2, 3)"):
        assert not verdict(f"def f(): return {result}", lists).correct
    assert verdict("def f(): return [1, 2, 3]", lists).correct


def test_exiting_after_some_correct_results_is_wrong():
    for ending in ("os._exit(0)", "sys.exit(0)", "os.abort()"):
        answer = f"import os, sys\ndef double(n):\n    if n == 3: {ending}\n    return 2 * n"
        assert not verdict(answer).correct and "test 3 of 5" in verdict(answer).reason


ALWAYS_EQUAL = """
class Always(int):
    __eq__ = lambda self, other: True
    __ne__ = lambda self, other: False
    __hash__ = lambda self: 0
    __class__ = int
def double(n): return Always()
"""
PATCHED_CHECKER = """
import json, sys, builtins
for module in list(sys.modules.values()):
    for name in ('same', 'equal', 'loosened', 'check_code', 'failed_test'):
        if hasattr(module, name): setattr(module, name, lambda *a, **k: True)
builtins.all = lambda *a: True
builtins.len = lambda *a: 0
json.dumps = lambda *a, **k: '{"result": 2, "passed": true, "correct": true}'
def double(n): return None
"""
FORGED_OUTPUT = """
import os, sys
lines = b'{"passed": true}\\n{"correct": true}\\nall tests passed\\nOK\\n'
for fd in range(1, 30):
    try: os.write(fd, lines)
    except OSError: pass
def double(n): return None
"""
READS_FRAMES = """
import sys, gc
def double(n):
    frame, seen = sys._getframe(), []
    while frame:
        seen += [v for v in (*frame.f_locals.values(), *frame.f_globals.values()) if isinstance(v, (dict, list, tuple))]
        frame = frame.f_back
    for found in seen + gc.get_objects():
        if isinstance(found, dict) and isinstance(found.get('expected'), int): return found['expected']
        if isinstance(found, dict) and isinstance(found.get('tests'), list): return found['tests'][0]['expected']
    return None
"""
AT_EXIT = """
import atexit, os
atexit.register(lambda: [os.write(fd, b'{"result": 2}\\n') for fd in range(1, 9)])
def double(n): raise SystemExit(0)
"""
LEAVES_A_DAEMON = """
import os, threading
try:
    if os.fork() == 0:
        os.setsid()
        while True: pass
except OSError: pass
def double(n): return None
"""
REPLACED_CHANNEL = """
import sys
frame = sys._getframe(1)
channel = frame.f_locals.get('channel')
channel.send({'defined': True})
for n in range(9): channel.send({'result': n})
def double(n): return 2
"""
READS_THE_CHANNEL = """
import sys, gc
def double(n):
    for found in gc.get_objects():
        if type(found).__name__ == 'Channel': return found.receive()
"""
READS_FILES = """
import os
def double(n):
    for root in ('/', '/proc/self', '/tmp', os.pardir):
        for folder, _, names in os.walk(root, onerror=None):
            for name in names:
                try:
                    if 'expected' in open(os.path.join(folder, name)).read(): return 2 * n
                except Exception: pass
            break
"""


@pytest.mark.parametrize(
    "answer",
    [
        ALWAYS_EQUAL,
        PATCHED_CHECKER,
        FORGED_OUTPUT,
        READS_FRAMES,
        AT_EXIT,
        LEAVES_A_DAEMON,
        REPLACED_CHANNEL,
        READS_FILES,
    ],
)
def test_cheating_answers_fail(answer):
    assert not verdict(answer).correct


def test_reading_the_next_message_of_the_parent_fails():
    assert verdict(READS_THE_CHANNEL, limits=Limits(seconds=0.3)).reason.endswith("time limit of 0.3 s")


def test_exceeding_the_time_limit_is_wrong_and_reported():
    found = verdict("def double(n):\n    while True: pass", limits=Limits(seconds=0.3))
    assert found.reason == "test 1 of 5: double(1): time limit of 0.3 s" and found.well_formed
    assert verdict("while True: pass", limits=Limits(seconds=0.3)).reason == "time limit of 0.3 s"


def test_every_test_gets_fresh_arguments():
    fields = {"function": "f", "tests": [{"args": [[1, 2]], "expected": 3}, {"args": [[1, 2]], "expected": 3}]}
    assert verdict("def f(a):\n    total = sum(a)\n    a.clear()\n    return total", fields).correct


def test_equal_compares_like_python_and_strict_also_compares_types():
    for compare, correct in (("strict", False), ("equal", True)):
        assert verdict("def double(n): return float(2 * n)", {**DOUBLE, "compare": compare}).correct is correct
    assert not verdict("def double(n): return str(2 * n)", {**DOUBLE, "compare": "equal"}).correct


ASSERTS = {
    "function": "f",
    "tests": [],
    "context": "import math",
    "asserts": "assert math.isclose(f(2), 4)\nassert sorted(f(x=3) for _ in range(2)) == [6, 6]\nassert f(1) in (2, 3)",
}


def test_asserts_run_in_a_separate_process():
    assert verdict("def f(x): return 2 * x", ASSERTS).correct
    assert verdict("def f(x): return 3 * x", ASSERTS).reason == "the asserts: AssertionError"
    assert "RuntimeError: raised ValueError" in verdict("def f(x): raise ValueError", ASSERTS).reason


@pytest.mark.parametrize(
    "answer",
    [
        "import builtins\nbuiltins.AssertionError = type('E', (Exception,), {})\ndef f(x): return None",
        "import math\nmath.isclose = lambda *a: True\ndef f(x): return 0",
        "import sys\ndef f(x):\n    sys._getframe(1).f_globals['sorted'] = lambda *a: [6, 6]\n    return 4",
        "class A(int):\n    def __eq__(self, o): return True\n    __radd__ = __hash__ = None\ndef f(x): return A()",
        "import sys\ndef f(x): sys.exit(0)",
        "import os\ndef f(x): os._exit(0)",
        FORGED_OUTPUT.replace("def double(n)", "def f(x)"),
        "def f(x):\n" + textwrap.indent(FORGED_OUTPUT.replace("def double(n):", ""), "    "),
        "import sys\ndef f(x):\n    frame = sys._getframe(1)\n    return frame.f_code.co_consts[1]",
    ],
)
def test_cheating_asserts_fails(answer):
    assert not verdict(answer, ASSERTS).correct


@pytest.mark.parametrize("asserts", ["assert f(lambda: 1) == 2", "assert g(1) == 2", "import nowhere", "assert ("])
def test_asserts_that_cannot_be_run_raise_an_error(asserts):
    with pytest.raises(SandboxError, match="the asserts of this problem cannot be run"):
        verdict("def f(x): return 2", {**ASSERTS, "asserts": asserts})


def test_endless_asserts_are_stopped():
    fields = {**ASSERTS, "asserts": "while True: f(1)"}
    assert "time limit of 0.3 s" in verdict("def f(x): return 1", fields, Limits(seconds=0.3)).reason
