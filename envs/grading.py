"""Scores completions in separate processes, while others are still being generated.

A grader that hangs, raises, or dies twice costs one completion its score. The failure is counted, the grader is
restarted, and the run continues. A completion whose grader died is scored once more by a new one: the kernel may have
killed it for lack of memory, which must not change what the run computes. Graders read text that a model wrote, so
their memory is limited as well. They are started with subprocess rather than multiprocessing, which would import the
training script, and with it torch and Ray, into each of them: `python -m envs.grading FD`, where FD is the file
descriptor of a pipe.
"""

import json
import os
import resource
import signal
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory

from envs.env import Env
from envs.mixed import tasks_of
from envs.questions.task import Questions
from grpo.types import Problem, Score
from rewards.components import Scored
from rewards.mix import COMPONENTS, RewardConfig
from rewards.tags import read_tags

REPOSITORY = Path(__file__).resolve().parent.parent
START_TIMEOUT = 60.0  # seconds for the imports of a new process
ATTEMPTS = 2  # to score a completion, if the grader dies
MAX_MEMORY = 4 * 2**30  # bytes of address space


def grade(env: Env, reward: RewardConfig, problem: Problem, text: str, num_tokens: int | None) -> Score:
    """Score one completion. An exception of a checker or component becomes a `Score` with `error`."""
    try:
        parts = read_tags(text)
        verdict = env.check(problem, parts.answer)
        scored = Scored(text, parts, verdict, num_tokens, reward.language, reward.max_tokens, reward.overlong_tokens)
        components = {name: COMPONENTS[name](scored) for name in reward.weights if name in COMPONENTS}
    except Exception as error:  # noqa: BLE001 - whatever a checker raises is a counted error
        return failed(reward, repr(error))
    return Score(reward.total(components), verdict.correct, components, verdict.reason)


def failed(reward: RewardConfig, error: str) -> Score:
    """The score of a completion on which the grader failed."""
    return Score(0.0, False, dict.fromkeys(reward.weights, 0.0), "the grader failed", error=error[:1000])


class GraderProcess:
    """A running grader process and the connection to it."""

    def __init__(self, env: Env, reward: RewardConfig) -> None:
        self.connection, child_end = Pipe()
        self.folder = TemporaryDirectory(prefix="grader-")  # for what it cannot remove itself if it is killed
        self.process = subprocess.Popen(
            [sys.executable, "-m", "envs.grading", str(child_end.fileno())],
            pass_fds=[child_end.fileno()],
            cwd=REPOSITORY,
            env={n: value for n, value in os.environ.items() if n != "RAY_AUTH_TOKEN"} | {"TMPDIR": self.folder.name},
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C does not reach the grader, and killing its group kills its children
        )
        child_end.close()
        with suppress(OSError):  # it has died already, which the first completion notices
            self.connection.send((env, reward))

    def wait_until_ready(self) -> None:
        """
        Raises:
            OSError, EOFError: it has died, or did not start within START_TIMEOUT.
        """
        if not self.connection.poll(START_TIMEOUT):
            raise TimeoutError
        self.connection.recv_bytes()

    def kill(self) -> None:
        self.connection.close()
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.folder.cleanup()


class GradingPool:
    """`reward.workers` grader processes, started when they are first needed."""

    def __init__(self, env: Env, reward: RewardConfig) -> None:
        self.env, self.reward = env, reward
        self.idle: SimpleQueue[GraderProcess | None] = SimpleQueue()  # None: not started, or killed
        for _ in range(reward.workers):
            self.idle.put(None)
        self.threads = ThreadPoolExecutor(reward.workers, thread_name_prefix="grading")

    def submit(self, problem: Problem, text: str, num_tokens: int | None) -> Future[Score]:
        """Score a completion in the background."""
        return self.threads.submit(self._grade, problem, text, num_tokens)

    def _grade(self, problem: Problem, text: str, num_tokens: int | None) -> Score:
        grader = self.idle.get()
        try:
            for _ in range(ATTEMPTS):
                is_new, died = grader is None, False
                grader = grader or GraderProcess(self.env, self.reward)
                try:
                    if is_new:
                        grader.wait_until_ready()
                    grader.connection.send((problem, text, num_tokens))
                    if grader.connection.poll(self.reward.timeout_s):
                        return Score(**json.loads(grader.connection.recv_bytes()))
                except (EOFError, OSError):
                    died = True
                grader.kill()
                grader = None
                if not died:
                    return failed(self.reward, f"took longer than reward.timeout_s={self.reward.timeout_s:g} s")
            return failed(self.reward, "died")
        finally:
            self.idle.put(grader)

    def close(self) -> None:
        """Drop pending completions and stop all processes."""
        self.threads.shutdown(wait=True, cancel_futures=True)
        while not self.idle.empty():
            if (grader := self.idle.get()) is not None:
                grader.kill()


def import_libraries(env: Env) -> None:
    """Import what the checker would import for the first completion, whose time limit is not meant for it."""
    if any(isinstance(task, Questions) and task.grader == "latex" for task in tasks_of(env)):
        import math_verify  # noqa: F401


def main() -> None:
    """Run in the grader process: receive the task and the reward mix, then score completions until the pipe closes."""
    hard_limit = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = MAX_MEMORY if hard_limit < 0 else min(MAX_MEMORY, hard_limit)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard_limit))
    with Connection(int(sys.argv[1])) as connection:
        env, reward = connection.recv()
        import_libraries(env)
        connection.send_bytes(b"ready")
        while True:
            try:
                problem, text, num_tokens = connection.recv()
            except EOFError:
                return
            score = grade(env, reward, problem, text, num_tokens)
            connection.send_bytes(json.dumps(asdict(score)).encode())


if __name__ == "__main__":
    main()
