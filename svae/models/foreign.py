"""Components of a person's own: how they are told from the package's, and refused by name."""

import os
import sysconfig
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any, NoReturn

from torch import Tensor


@dataclass(frozen=True)
class Part:
    """A component, and the key that names it."""

    key: str
    kind: str
    thing: Any  # an object, its class, or a function

    @property
    def is_own(self) -> bool:
        return is_own(self.thing)

    def refuse(self, fault: str, expected: str) -> NoReturn:
        raise ValueError(
            f"{self.key}: {name_of(self.thing)} {fault}, expected {expected}; docs/extending.md "
            f"lists what a {self.kind} gives"
        )

    def call(self, function: Callable, *arguments) -> Any:
        """Call what belongs to the component; what it raises becomes one sentence."""
        try:
            return function(*arguments)
        except Exception as error:
            raise ValueError(f"{self.key}: {name_of(self.thing)} raised {told(error)}") from error

    def have(self, **expected: tuple[str, Callable[[Any], bool]]) -> None:
        """Refuse a component without attributes of these names, or with others than expected."""
        for name, (words, test) in expected.items():
            if not hasattr(self.thing, name):
                self.refuse(f"has no `{name}`", words)
            if not test(value := getattr(self.thing, name)):
                self.refuse(f"has {value!r:.60} as `{name}`", words)

    def shaped(self, what: str, found: Any, shape: tuple[int, ...]) -> None:
        """Refuse what is no tensor of finite numbers of this shape."""
        if not isinstance(found, Tensor):
            self.refuse(f"gives a {type(found).__name__} as {what}", f"a tensor of shape {shape}")
        if found.shape != shape:
            self.refuse(f"gives {what} of shape {tuple(found.shape)}", f"{shape}")
        if not found.isfinite().all():
            self.refuse(f"gives {what} that are not all finite", "finite numbers")


def is_count(value: Any) -> bool:
    """Tell whether something may be how many there are: a whole number from 1 up."""
    return isinstance(value, Integral) and not isinstance(value, bool) and 0 < value < 2**31


def is_own(thing: Any) -> bool:
    """Tell whether an object, a class or a function is this package's; names of ours are, too."""
    if isinstance(thing, str):
        return True
    return name_of(thing).partition(".")[0] == __name__.partition(".")[0]


def name_of(thing: Any) -> str:
    """Return the dotted name of a class, of a function, or of an object's class."""
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{named.__module__}.{named.__qualname__}"


def told(error: BaseException) -> str:
    """Return an error's type, the first line of its text, and where a person's code raised it."""
    line = next(iter(str(error).splitlines()), "")
    text = f"{type(error).__name__}: {line}" if line else type(error).__name__
    where = place(error)
    return f"{text} ({where})" if where else text


def place(error: BaseException) -> str | None:
    """Return file:line of the innermost frame outside this package, torch, Python, ..., if any."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith(_LIBRARIES):
            return f"{frame.filename}:{frame.lineno}"
    return None


_LIBRARIES = (
    "<",  # such as <frozen importlib._bootstrap>
    f"{Path(__file__).parents[1]}{os.sep}",
    *(f"{sysconfig.get_path(name)}{os.sep}" for name in ("stdlib", "purelib", "platlib")),
)
