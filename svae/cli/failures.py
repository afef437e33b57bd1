"""What ended a run, and what to do about it, each in one sentence."""

import errno

_FULL = (errno.ENOSPC, errno.EDQUOT)
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)


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
