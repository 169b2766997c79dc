"""Ctrl-C and SIGTERM as a request to stop, honoured where the run can stop without loss."""

import signal
from types import FrameType


class Interrupted(Exception):  # noqa: N818 - not an error
    """The user asked the run to stop."""


class Interrupt:
    """The first signal asks to stop; a second one is the ordinary KeyboardInterrupt."""

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
