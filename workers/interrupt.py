"""Ctrl-C and SIGTERM as a request to stop at the next point where the run loses nothing."""

import signal
from types import FrameType


class Interrupted(Exception):  # noqa: N818 - not an error
    """The user asked the run to stop."""


class Interrupt:
    """The first signal requests a stop; the second one raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self.requested = False

    def listen(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)

    def check(self) -> None:
        if self.requested:
            raise Interrupted

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
