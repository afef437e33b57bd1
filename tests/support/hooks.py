"""What goes wrong in the fault tests: called in the program's process before it begins."""

import contextlib
import errno
import gc
import os
import resource
import signal
import time
import weakref
from pathlib import Path

import torch

from svae import evaluate, objectives
from svae.experiment import evaluation
from svae.recording import checkpoint, console, files, folder, progress
from svae.training import loop


def every_epoch_saved() -> None:
    """Write every epoch to the disk, however short it is."""
    progress._SAVE_EVERY = 0.0


def slow() -> None:
    """Let every epoch from the second on take a while, so that a test can act meanwhile."""
    _after_epoch(2, lambda: time.sleep(0.7))


def read_only() -> None:
    """Let no file be made any more once the second epoch is safe."""

    def refuse(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    def turn():
        files.tempfile.mkstemp = refuse

    _after_epoch(2, turn)


def slow_and_deaf() -> None:
    """Be slow, and ignore the signals as a job in the background does."""
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    slow()


def slow_end() -> None:
    """Be slow, and take long to write the status when asked to stop."""
    slow()
    write = folder.RunFolder.status

    def status(self, state, *arguments, **named):
        if state == folder.INTERRUPTED:
            time.sleep(30)
        write(self, state, *arguments, **named)

    folder.RunFolder.status = status


def swallowed_signal() -> None:
    """Ask to stop while a weak reference's callback runs: Python drops what is raised there."""

    class Thing:
        pass

    def ask():
        thing = Thing()
        reference = weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.SIGTERM))
        del thing
        gc.collect()
        assert reference() is None

    _once_after_epoch(2, ask)


def signal_in_evaluation() -> None:
    """Ask to stop in the final evaluation."""
    _before(evaluate, "evaluate", lambda: os.kill(os.getpid(), signal.SIGINT))


def killed_in_write(name: str, count: int) -> None:
    """Die with half of a file written, the `count`-th of its name."""

    def half(descriptor: int) -> None:
        os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
        _die()

    _in_write("fsync", lambda path: f".{name}." in path, half, count)


def killed_in_append(kept: float, count: int) -> None:
    """Die with a share of the row on the disk, in the `count`-th append to metrics.csv."""

    def part(descriptor: int) -> None:
        content = Path(os.readlink(f"/proc/self/fd/{descriptor}")).read_bytes()
        begin = content[:-1].rfind(b"\n") + 1
        os.ftruncate(descriptor, begin + int(kept * (len(content) - begin)))
        _die()

    _in_write("fsync", lambda path: path.endswith("/metrics.csv"), part, count)


def killed_before_rename(name: str, count: int) -> None:
    """Die with a file written and not renamed, the `count`-th of its name."""
    _in_write("replace", lambda path: f".{name}." in path, lambda *_: _die(), count)


def killed_between_last_and_best() -> None:
    """Die with last.pt of the third epoch written, and best.pt of it not."""
    every_epoch_saved()
    save = checkpoint.save

    def dying(path, content):
        if path.name == "best.pt" and content["epoch"] == 3:
            _die()
        save(path, content)

    checkpoint.save = dying


def killed_in_evaluation() -> None:
    """Die when all epochs are made."""
    _before(evaluate, "evaluate", _die)


def killed_in_plots() -> None:
    """Die with the results written, the pictures and the status not."""
    _before(evaluation, "draw", _die)


def signal_in_plots() -> None:
    """Ask to stop while the pictures are written."""
    _before(evaluation, "draw", lambda: os.kill(os.getpid(), signal.SIGTERM))


def killed_in_claim() -> None:
    """Die with one of the files of a new folder written."""
    _before(folder, "write_text", _die, count=2)


def bad_loss_once() -> None:
    """Make a loss not finite in epoch 3, unless the run has been restarted."""
    inner = loop._train

    def with_bad_loss(group, number, *more):
        if (number, group[0].restarts) != (3, 0):
            return inner(group, number, *more)
        loss, count = objectives.Elbo.loss, []

        def bad(self, *arguments):
            count.append(1)
            return loss(self, *arguments) * (float("nan") if len(count) == 2 else 1)

        objectives.Elbo.loss = bad
        try:
            return inner(group, number, *more)
        finally:
            objectives.Elbo.loss = loss

    loop._train = with_bad_loss


def bad_gradient() -> None:
    """Make a gradient infinite in epoch 3, and the loss not."""
    inner = loop._train

    def with_bad_gradient(group, number, *more):
        if number == 3:
            next(group[0].model.parameters()).register_hook(
                lambda gradient: gradient * float("inf")
            )
        return inner(group, number, *more)

    loop._train = with_bad_gradient


def full_disk(name: str, count: int) -> None:
    """Fill the small disk before the run writes a file, the `count`-th of its name."""

    def fill():
        with contextlib.suppress(OSError), open("disk/filler", "wb") as stream:
            while True:
                stream.write(bytes(4096))
                stream.flush()

    every_epoch_saved()
    make, calls = files.tempfile.mkstemp, []

    def made(suffix, prefix, folder):
        calls.append(prefix == f".{name}.")
        if calls[-1] and sum(calls) == count:
            fill()
        return make(suffix, prefix, folder)

    files.tempfile.mkstemp = made


def little_memory() -> None:
    """Let the third epoch ask for more memory than the process may have."""
    inner = loop._train

    def limited(group, number, *more):
        if number == 3:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            limit = pages * resource.getpagesize() + 2**26
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            torch.ones(2**26)  # a quarter of a gibibyte
        return inner(group, number, *more)

    loop._train = limited


def bad_evaluation() -> None:
    """Let the final evaluation give a number that is not finite."""
    inner = evaluate.evaluate
    evaluate.evaluate = lambda *a, **k: inner(*a, **k) | {"test/log_likelihood": -float("inf")}


def out_of_gpu_memory() -> None:
    """Let the third epoch meet a GPU without memory."""
    _fail_in_epoch(3, torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."))


def out_of_memory() -> None:
    """Let the third epoch meet a machine without memory."""
    text = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."
    _fail_in_epoch(3, RuntimeError(text))


def _in_write(call: str, concerns, act, count: int) -> None:
    """Call `act` in place of the `count`-th call of os.`call` in a write that `concerns` a file."""
    inner, calls = getattr(os, call), []

    def wrapped(first, *rest):
        path = os.readlink(f"/proc/self/fd/{first}") if isinstance(first, int) else str(first)
        calls.append(concerns(path))
        if calls[-1] and sum(calls) == count:
            act(first, *rest)
        return inner(first, *rest)

    setattr(files.os, call, wrapped)
    every_epoch_saved()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _after_epoch(first: int, act) -> None:
    """Call `act` after every epoch from `first` on."""
    show = console.Bar.epoch
    every_epoch_saved()

    def shown(self, number, *more):
        show(self, number, *more)
        if number >= first:
            act()

    console.Bar.epoch = shown


def _once_after_epoch(epoch: int, act) -> None:
    acted = []
    _after_epoch(epoch, lambda: acted or (acted.append(1), act()))


def _before(module, name: str, act, count: int = 1) -> None:
    """Call `act` before the call number `count` of `module.name`."""
    inner, calls = getattr(module, name), []

    def wrapped(*arguments, **named):
        calls.append(1)
        if len(calls) == count:
            act()
        return inner(*arguments, **named)

    setattr(module, name, wrapped)


def _fail_in_epoch(epoch: int, error: Exception) -> None:
    inner = loop._train

    def failing(group, number, *more):
        if number == epoch:
            raise error
        return inner(group, number, *more)

    loop._train = failing
