"""The terminal, which takes any text from anybody and shows it as text."""

import codecs
import contextlib
import os
import re
import sys

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but the tab and the line feed


# what numbers are written with, for an encoding that lacks it
_SIGNS = {"\N{MINUS SIGN}": "-", "\N{PLUS-MINUS SIGN}": "+-"}


def prepare() -> None:
    """Make the standard streams take any text; to be called before a file is opened.

    A character that their encoding lacks is written out. Those that were closed (`>&-`) lead to
    nowhere: the next file would have taken their number, and every print of a library have been
    written into it.
    """
    for number in range(3):
        with contextlib.suppress(OSError):
            os.fstat(number)
            continue
        os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest free number
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
    codecs.register_error("svae", _written_out)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a notebook's takes any text
            stream.reconfigure(errors="svae")


def _written_out(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacked = error.object[error.start : error.end]
    signs = "".join(_SIGNS.get(character, character) for character in lacked)
    return signs.encode("ascii", "backslashreplace").decode(), error.end


def visible(text: str) -> str:
    r"""Return `text` with its control characters written out, such as \x1b.

    A terminal obeys them, and what a run folder says may come from anybody.
    """
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def say(text: str) -> None:
    """Say to the person at the terminal what has become of the command, one line."""
    with contextlib.suppress(OSError):  # of a terminal that was closed
        print(f"svae-train: {visible(text)}", file=sys.stderr)
