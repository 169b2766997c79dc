"""The limits of time, memory, output and files of the sandbox."""

import time

import pytest

from envs.code.sandbox import Limits, Sandbox, Stopped
from tests.envs.code.sandboxed import call


def test_an_endless_loop_ends_at_the_time_limit():
    for body in (
        "while True: pass",
        "import time; time.sleep(60)",
        "while True:\n    try: 1 / 0\n    except BaseException: pass",
    ):
        started = time.monotonic()
        with pytest.raises(Stopped, match="time limit of 0.3 s"):
            call(body, limits=Limits(seconds=0.3))
        assert time.monotonic() - started < 5


def test_the_time_limit_covers_all_calls_together():
    with Sandbox(Limits(seconds=0.5)) as sandbox:
        sandbox.ask({"define": "import time\ndef f(): time.sleep(0.2)", "function": "f", "context": ""})
        with pytest.raises(Stopped, match="time limit"):
            for _ in range(10):
                sandbox.ask({"call": []})


def test_the_kernel_enforces_the_cpu_limit_without_the_parent():
    with Sandbox(Limits(seconds=0.5)) as sandbox:
        sandbox.left = 30.0
        sandbox.ask({"define": "def f():\n    while True: pass", "function": "f", "context": ""})
        with pytest.raises(Stopped, match="killed at its CPU time"):
            sandbox.ask({"call": []})


def test_a_memory_bomb_ends_at_the_memory_limit():
    assert call("return len(bytearray(args[0]))", 2**30) == {"raised": "raised MemoryError"}
    assert call("a = []\nwhile True: a.append(bytearray(2**20))") == {"raised": "raised MemoryError"}
    assert "rror" in call("import mmap\nreturn len(mmap.mmap(-1, 2**30))")["raised"]


@pytest.mark.parametrize("where", ["print('x' * 1000)", "os.write(2, b'x' * 1000)"])
def test_endless_printing_ends_at_the_output_limit(where):
    with pytest.raises(Stopped, match="printed more than 64 KB"):
        call(f"while True: {where}")


def test_endless_files_end_at_the_folder_limit():
    body = """
        for i in range(10**9):
            try:
                with open(str(i), 'wb') as file:
                    file.write(bytes(2**19))
            except OSError:
                pass
    """
    with pytest.raises(Stopped, match="wrote more than 16 MB of files"):
        call(body)
    with pytest.raises(Stopped, match="wrote more than 16 MB of files"):  # while it prints, too
        call(body.replace("try:", "os.write(2, b'.' * (i % 100 == 0))\n            try:"))
    assert "File too large" in call("return open('a', 'wb').write(bytes(2**22))")["raised"]


def test_a_huge_result_is_refused():
    assert call("return 'x' * 10**6")["raised"] == "gave a result of more than 256 KB"
    assert "nested deeper" in call("a = []\na.append(a)\nreturn a")["raised"]
