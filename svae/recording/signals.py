"""Requests to stop: Ctrl-C, SIGTERM and a closed terminal become one exception."""

import os
import signal
import time
from types import FrameType

_WORDS = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "terminated",
    signal.SIGHUP: "the terminal was closed",
}
# a scheduler may send the same request to the process and to its group
_ONE_REQUEST = 0.5  # seconds


class Interrupted(BaseException):
    """Somebody wants the program to stop; `code` is the exit code, 128 + the signal."""

    def __init__(self, code: int, text: str):
        self.code, self.text = code, text


_request: Interrupted | None = None
_asked_at = 0.0


def install() -> None:
    """Let the signals raise `Interrupted`, but for those that the process was told to ignore.

    A shell that starts a job in the background has it ignore Ctrl-C, `nohup` the closed terminal.
    """
    for number in _WORDS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _stop)


def check() -> None:
    """Raise the request to stop once more, should there have been one.

    Python drops an exception that a signal raises in a destructor or in a callback of the garbage
    collector, so loops ask here.
    """
    if _request is not None:
        raise _request


def _stop(number: int, frame: FrameType | None) -> None:
    global _request, _asked_at
    if _request is None:
        _asked_at = time.monotonic()
        _request = Interrupted(128 + number, _WORDS[number])
        raise _request
    if time.monotonic() - _asked_at > _ONE_REQUEST:
        # the second request: now. Every file is whole at any moment, so nothing is lost.
        os._exit(128 + number)
