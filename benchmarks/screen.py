"""A picture of what a person sees of a command: its terminal while it works, and at its end.

    python -m benchmarks.screen FILE.png SECONDS COMMAND [WORD ...]

The command runs in a terminal of its own; the upper picture is what stands there after SECONDS.
"""

import os
import pty
import select
import sys
import time
from itertools import groupby

import matplotlib.pyplot as plt
import pyte

COLUMNS, LINES = 120, 48
INK, PAPER = "#d8dee9", "#20242c"
COLOURS = {"default": INK, "magenta": "#d87fb8", "red": "#e0686f", "cyan": "#7fc4d8"}
_INCHES = 0.082, 0.165  # of a character
_FONT = {"family": "monospace", "fontsize": 7}

Shown = list[list[pyte.screens.Char]]


def watch(command: list[str], seconds: float) -> tuple[Shown, Shown]:
    """Run `command` in a terminal and return its screen after `seconds` and at the end."""
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    process, terminal = pty.fork()
    if not process:
        os.environ |= {"COLUMNS": str(COLUMNS), "LINES": str(LINES), "TERM": "xterm-256color"}
        os.execvp(command[0], command)
    start, early = time.monotonic(), None
    while True:
        try:
            if select.select([terminal], [], [], 0.2)[0]:
                stream.feed(os.read(terminal, 65536))
        except OSError:  # the command has ended
            break
        if early is None and time.monotonic() - start > seconds:
            early = shown(screen)
    if code := os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]):
        raise ValueError(f"{' '.join(command)}: ended with {code}, expected 0")
    last = shown(screen)
    return early or last, last


def shown(screen: pyte.Screen) -> Shown:
    """Return the lines of `screen` down to the last that is not empty."""
    lines = [[screen.buffer[row][column] for column in range(COLUMNS)] for row in range(LINES)]
    used = [row for row, line in enumerate(lines) if any(char.data.strip() for char in line)]
    return lines[: used[-1] + 1] if used else []


def draw(screens: list[tuple[str, Shown]], file: str) -> None:
    """Draw the screens, one under the other, each under its title."""
    lines = [len(screen) + 1 for _, screen in screens]
    size = COLUMNS * _INCHES[0], sum(lines) * _INCHES[1] + 0.3 * len(screens)
    figure, axes = plt.subplots(len(screens), figsize=size, height_ratios=lines, squeeze=False)
    for axis, (title, screen) in zip(axes.flat, screens, strict=True):
        axis.set(xlim=(-1, COLUMNS + 1), ylim=(len(screen) + 0.2, -0.8), xticks=[], yticks=[])
        axis.set_facecolor(PAPER)
        axis.set_title(title, loc="left", **_FONT)
        for row, line in enumerate(screen):
            for start, colour, text in _pieces(line):
                axis.text(start, row, text, color=colour, va="center", **_FONT)
    figure.tight_layout(pad=0.4)
    figure.savefig(file, dpi=160)


def _pieces(line: list[pyte.screens.Char]):
    """Yield where each run of one colour starts, its colour and its text."""
    start = 0
    for colour, characters in groupby(line, key=lambda char: char.fg):
        text = "".join(char.data for char in characters)
        if text.strip():
            yield start, COLOURS.get(colour, f"#{colour}" if len(colour) == 6 else INK), text
        start += len(text)


def main() -> None:
    file, seconds, *command = sys.argv[1:]
    early, last = watch(command, float(seconds))
    title = "$ " + " ".join(command)
    draw([(f"{title}     (after {seconds} s)", early), (f"{title}     (at the end)", last)], file)


if __name__ == "__main__":
    main()
