"""Runs the program in processes that are forked from one that has imported it: each is cheap."""

import atexit
import contextlib
import math
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

_SERVER = multiprocessing.get_context("forkserver")
# what a run needs, an optimiser torch._dynamo; `pytest` because a child looks at what its parent's
# main module was
_OURS = ["tests.support.forked", "svae.cli.main", "svae.experiment"]
_NEEDED = ["pytest", *_OURS, "torch._dynamo", "wandb"]
_SERVER.set_forkserver_preload(_NEEDED)


@dataclass
class Done:
    """How a process ended: its exit code, or minus the signal that killed it."""

    returncode: int
    stdout: str
    stderr: str


def once(arguments: list[str]) -> list[str]:
    """Drop what is typed again later: tests alter a line that they share."""
    return [*{word.partition("=")[0]: word for word in arguments}.values()]


class Program:
    """`svae-train ARGUMENTS` in a process of its own, begun in the folder `cwd`."""

    def __init__(self, arguments: list[str], cwd: Path, environment: dict[str, str], before=None):
        folder = Path(tempfile.mkdtemp())
        self._output = [folder / "out", folder / "err"]
        arguments = (once(arguments), cwd, environment, self._output, before)
        self._process = _SERVER.Process(target=_run, args=arguments)
        self._process.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()

    def work(self, seconds: float = math.inf) -> float:
        """Return after so much processor time of the process, or its end; return what it used."""
        used = 0.0
        with contextlib.suppress(OSError):  # it has ended
            while used < seconds and self.is_alive:
                used = time.clock_gettime(~self.pid << 3 | 2)  # Linux's clock of another process
                time.sleep(0.001)
        return used

    def send(self, number: int) -> None:
        """Send a signal, should the process still be there."""
        if self.is_alive:
            os.kill(self.pid, number)

    def wait(self, timeout: float = 120) -> Done:
        """Wait for the end; what does not end is killed and fails the test."""
        self._process.join(timeout)
        if late := self.is_alive:
            self._process.kill()
            self._process.join()
        out, err = (path.read_text() if path.exists() else "" for path in self._output)
        shutil.rmtree(self._output[0].parent)
        assert not late, f"did not end within {timeout} s\n{out}\n{err}"
        return Done(self._process.exitcode, out, err)


def _run(arguments, cwd, environment, output, before) -> None:
    # tests that run in the background of a script would hand on what is ignored there
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    for path, stream in zip(output, (sys.stdout, sys.stderr), strict=True):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, stream.fileno())
        os.close(descriptor)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    _own_media()
    sys.argv = ["svae-train", *arguments]
    sys.stdout.reconfigure(line_buffering=True)
    if before is not None:
        before()
    from svae.cli import main

    try:
        main.main()
    finally:
        atexit._run_exitfuncs()


def _own_media() -> None:
    """Let W&B have a folder for pictures in this process: that of its parent ends with another."""
    from wandb.sdk.data_types._private import MEDIA_TMP

    MEDIA_TMP.name = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, MEDIA_TMP.name, ignore_errors=True)
