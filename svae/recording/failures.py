"""What ended a run, and what to do about it, each in one sentence."""

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from svae.recording.folder import FAILED, INTERRUPTED, RunFolder
from svae.recording.signals import Interrupted

log = logging.getLogger("svae")

_FULL = (errno.ENOSPC, errno.EDQUOT)
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)


@contextmanager
def written_down(folder: RunFolder) -> Iterator[None]:
    """Write down in a run folder whatever ends the run in it early, and raise it again."""
    from svae.recording.checkpoint import Unusable

    try:
        yield
    except Unusable:  # a checkpoint, of which nothing was altered
        raise
    except (Interrupted, KeyboardInterrupt):
        with suppress(OSError):
            folder.status(INTERRUPTED)
        raise
    except Exception as error:
        if is_out_of_time(error):
            folder.status(INTERRUPTED)
            raise
        log.exception("the run failed")
        with suppress(OSError):  # of a vanished folder
            folder.status(FAILED, error=explain(error))
        raise


def explain(error: Exception) -> str:
    """Return what happened."""
    text = " ".join(str(error).split())
    number = error.errno if isinstance(error, OSError) else None
    if number in _FULL:
        return "the disk is full"
    if number == errno.EROFS:
        return "the file system of the run folder has become read-only"
    if number in _GONE:
        return f"a file or the run folder has vanished: {text}"
    if _is_memory(error):
        return f"out of memory: {text[:200]}"
    return text if _is_divergence(error) else f"{type(error).__name__}: {text}"


def advise(error: Exception, resume: str) -> str:
    """Return what to do; `resume` is the command that continues the run."""
    if _is_divergence(error):
        if error.restarts:
            return (
                f"{error.restarts} restarts did not help, begin again with a smaller "
                "trainer.learning_rate"
            )
        return (
            f"go on with other random numbers: {resume} trainer.on_nan=restart; "
            "or begin again with a smaller trainer.learning_rate"
        )
    if _is_memory(error):
        return (
            f"make room, then continue with: {resume} (evaluation.batch_size may be smaller); "
            "or begin again with a smaller trainer.batch_size or network"
        )
    return f"when that is mended, continue with: {resume}"


# by their names: neither submitit nor torch is imported for an error
def is_out_of_time(error: Exception) -> bool:
    """Tell whether Slurm's time limit was reached once too often, which is no fault of the run."""
    return type(error).__name__ == "UncompletedJobError"


def _is_divergence(error: Exception) -> bool:
    return type(error).__name__ == "Diverged"


def _is_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)
