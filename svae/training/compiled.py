"""A training step as one compiled program: forward and backward pass in a few loops of C++.

What remains beside the matrix products is a fraction of what Python and autograd spend on it.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache

import torch
from torch import Tensor

log = logging.getLogger("svae")


@contextmanager
def compiled(function: Callable, device: torch.device) -> Iterator[Callable]:
    """Make a program for `device` of `function`(model, batch, ...).

    It may call torch.autograd.grad. The first call compiles. A batch of another shape than the
    first, as the last of an epoch, is left to `function` itself: a second program would take as
    long to make as it ever saves. So is all if torch fails to make the program, which one line
    says. All random numbers have to come from torch's own generator.
    """
    import torch._dynamo
    import torch._inductor.config

    shapes = set()

    def call(model, batch: Tensor, *rest):
        if not shapes:
            shapes.add(batch.shape)
        return (_program(function) if batch.shape in shapes else function)(model, batch, *rest)

    with ExitStack() as stack:
        # older versions of torch leave the backward pass out of the program
        if hasattr(torch._dynamo.config, "trace_autograd_ops"):
            stack.enter_context(torch._dynamo.config.patch(trace_autograd_ops=True))
        # on the CPU the program's lines are called from C++ too: Python takes a tenth of a step
        stack.enter_context(torch._inductor.config.patch(cpp_wrapper=device.type == "cpu"))
        # it would say which operations torch calls by a longer way
        logger = logging.getLogger("torch._inductor")
        stack.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.ERROR)
        yield call


def can_compile(device: torch.device) -> bool:
    """Return whether torch.compile works here; if not, one line says why. Begins a run anew."""
    reset()
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.zeros(2, device=device))
    except Exception as error:  # what a missing compiler raises differs from one to the other
        _tell("nothing can be compiled here", error)
        return False
    return True


def reset() -> None:
    """Forget all programs: a function is compiled a few times only, and a sweep has many runs."""
    torch.compiler.reset()
    _program.cache_clear()


class _Program:
    """The program of a function, or the function itself once that could not be made."""

    def __init__(self, function: Callable):
        self._function = function
        self._run = torch.compile(function, dynamic=False)
        self._works = False

    def __call__(self, *arguments):
        if self._works:
            return self._run(*arguments)
        _say_once("trainer.compile: compiling the step ...")
        try:
            outcome = self._run(*arguments)
        except Exception as error:  # torch has many; one of the function's own comes again
            self._run = self._function
            outcome = self._run(*arguments)
            _tell("this step cannot be compiled", error)
        self._works = True
        return outcome


@cache
def _program(function: Callable) -> _Program:
    return _Program(function)


def _tell(what: str, error: Exception) -> None:
    line = f"trainer.compile: {what}, the step runs as it is ({_reason(error)})"
    log.info(line)
    _say_once(line)


@cache
def _say_once(line: str) -> None:
    """Print a line, however many runs of a sweep have it to say."""
    print(line)


def _reason(error: Exception) -> str:
    """Return the line of an error that tells most: a compiler's own, or else the first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "error: " in line]
    telling = telling or [line for line in lines if not line.endswith(":")]
    return (telling or [type(error).__name__])[0][:200]
