"""Scoring in processes of its own, beside generation.

A grader that hangs, dies or raises costs one completion its score, is counted, and is started
again; the run goes on. Graders are started by hand, not through multiprocessing, which would import
the training script, and with it torch and Ray, into each of them.
"""

import os
import signal
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue

from envs.grader import Checker, failed, from_json
from grpo.types import Problem, Score
from rewards.mix import RewardConfig

REPOSITORY = Path(__file__).resolve().parent.parent
STARTING = 60.0  # seconds that a new process may take on top, for its imports


class Grader:
    """One process, which is started when it is first needed and again whenever it was killed."""

    def __init__(self, env: Checker, reward: RewardConfig) -> None:
        self.env, self.reward = env, reward
        self.process: subprocess.Popen[bytes] | None = None
        self.connection: Connection | None = None

    def grade(self, problem: Problem, text: str, tokens: int | None) -> Score:
        patience = self.reward.timeout_s
        if self.connection is None:
            self._start()
            patience += STARTING
        assert self.connection is not None
        try:
            self.connection.send((problem, text, tokens))
            if self.connection.poll(patience):
                return from_json(self.connection.recv_bytes())
            error = f"took longer than reward.timeout_s={self.reward.timeout_s:g} s"
        except (EOFError, OSError):
            error = "died"
        self.stop()
        return failed(self.reward, error)

    def _start(self) -> None:
        self.connection, other = Pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "envs.grader", str(other.fileno())],
            pass_fds=[other.fileno()],
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the run, and a kill takes its children along
        )
        other.close()
        self.connection.send((self.env, self.reward))

    def stop(self) -> None:
        if self.process is not None and self.connection is not None:
            self.connection.close()
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = self.connection = None


class GradingPool:
    """`reward.workers` graders and a queue in front of them."""

    def __init__(self, env: Checker, reward: RewardConfig) -> None:
        self.graders = [Grader(env, reward) for _ in range(reward.workers)]
        self.idle: SimpleQueue[Grader] = SimpleQueue()
        for grader in self.graders:
            self.idle.put(grader)
        self.threads = ThreadPoolExecutor(len(self.graders), thread_name_prefix="grading")

    def submit(self, problem: Problem, text: str, tokens: int | None) -> Future[Score]:
        return self.threads.submit(self._grade, problem, text, tokens)

    def _grade(self, problem: Problem, text: str, tokens: int | None) -> Score:
        grader = self.idle.get()
        try:
            return grader.grade(problem, text, tokens)
        finally:
            self.idle.put(grader)

    def close(self) -> None:
        self.threads.shutdown(wait=True, cancel_futures=True)
        for grader in self.graders:
            grader.stop()
