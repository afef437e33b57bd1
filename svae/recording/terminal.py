"""The terminal, which takes any text from anybody and shows it as text."""

import contextlib
import re
import sys

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but the tab and the line feed


def visible(text: str) -> str:
    r"""Return `text` with its control characters written out, such as \x1b.

    A terminal obeys them, and what a run folder says may come from anybody.
    """
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def say(text: str) -> None:
    """Say to the person at the terminal what has become of the command, one line."""
    with contextlib.suppress(OSError):  # of a terminal that was closed
        print(f"svae-train: {visible(text)}", file=sys.stderr)
