"""What the numbers of an array are taken for: probabilities, levels of bytes or measurements."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from svae.data.pictures import are_coloured

LIKELIHOODS = ("auto", "bernoulli", "gaussian", "heteroscedastic", "vmf")
_OF_COLOURS = "discretised_logistic"
_OF_BYTES = "discretised_"  # so begins the name of a likelihood of the 256 levels of uint8
_FEW = 16  # up to this maximum, uint8 may be classes, counts or levels as well as dark pixels
_COUNTS = "counts need a likelihood of their own, see docs/extending.md"
Arrays = Mapping[str, np.ndarray]  # by the names that a refusal shows


@dataclass(frozen=True)
class Reading:
    """How arrays are read: their likelihood, and what arrays of a type are divided by."""

    likelihood: str
    divisors: Mapping[np.dtype, int]

    @property
    def is_bounded(self) -> bool:
        """Whether rows hold numbers from 0 to 1 alone."""
        return self.likelihood == "bernoulli" or self.likelihood.startswith(_OF_BYTES)

    def rows(self, array: np.ndarray) -> np.ndarray:
        """Return an array (N, ...) as rows (N, D): float32, or uint8 in units of 1/255."""
        rows, divisor = array.reshape(len(array), -1), self.divisors[array.dtype]
        if divisor == 255 and rows.dtype == np.uint8:
            return rows
        rows = rows.astype(np.float32)
        return rows if divisor == 1 else rows / np.float32(divisor)

    def source(self, arrays: Arrays) -> str:
        """Say what was found in the arrays, each type once, and what is done with it."""
        parts = []
        for kind, divisor in self.divisors.items():
            words = found(*(array for array in arrays.values() if array.dtype == kind))
            is_real = kind.kind == "f" and not words.endswith("0 and 1")
            done = f"divided by {divisor}" if divisor != 1 else "taken as it is"
            if divisor == 1 and is_real and self.likelihood == "bernoulli":
                done = "taken as probabilities"
            if self.likelihood.startswith(_OF_BYTES):
                done = "taken as 256 levels"
            parts.append(f"{words}, {done}")
        return "; ".join(parts)


def interpret(arrays: Arrays, likelihood: str, levels: int | str | None) -> Reading:
    """Return how `arrays` are to be read, images as `svae.data.pictures.with_planes` gives them.

    With `levels="auto"`, uint8 up to 1 is taken as booleans, above 16 as pixels in units of 1/255;
    floats in [0, 1] are probabilities, others have a Gaussian likelihood. Of coloured images uint8
    are 256 levels with a likelihood of their own, and all floats have a Gaussian one. A number N
    says that whole numbers of any type are levels 0 to N - 1, to be divided. None reads as earlier
    versions did: uint8 in units of 1/255 and floats by their range, whatever they hold.

    Raises:
        ValueError: for whole numbers that may be levels as well as counts, for values that the
            likelihood or the number of levels does not allow.
    """
    if likelihood not in LIKELIHOODS and not likelihood.startswith(_OF_BYTES):
        expected = ", ".join((*LIKELIHOODS, _OF_COLOURS))
        raise ValueError(f"dataset.likelihood={likelihood}: expected one of {expected}")
    kinds = dict.fromkeys(array.dtype for array in arrays.values())
    if likelihood == "auto" and not isinstance(levels, int) and _are_photographs(arrays):
        likelihood = _OF_COLOURS
    if isinstance(levels, int):
        _check_levels(arrays, likelihood, levels)
        return Reading("bernoulli", {kind: levels - 1 for kind in kinds})
    if likelihood.startswith(_OF_BYTES):
        _check_bytes(arrays, likelihood)
        return Reading(likelihood, dict.fromkeys(kinds, 255))
    _refuse_integers(arrays)
    family = _family(arrays, likelihood)
    if levels == "auto" and likelihood == "auto":
        _refuse_whole_floats(arrays)
    of_bytes = 1
    if family == "bernoulli" and np.dtype(np.uint8) in kinds:
        of_bytes = 255 if levels is None else _divisor_of_bytes(arrays)
    return Reading(family, {kind: of_bytes if kind == np.uint8 else 1 for kind in kinds})


def _are_photographs(arrays: Arrays) -> bool:
    """Return whether all are coloured images of bytes, and not so dark as to be doubted."""
    is_bytes = all(are_coloured(a) and a.dtype == np.uint8 for a in arrays.values())
    return is_bytes and max(array.max() for array in arrays.values()) > _FEW


def _check_bytes(arrays: Arrays, likelihood: str) -> None:
    for name, array in arrays.items():
        if array.dtype != np.uint8:
            raise ValueError(
                f"dataset.likelihood={likelihood}: is over the 256 levels of uint8, got "
                f"{found(array)} in {name}"
            )


def _family(arrays: Arrays, likelihood: str) -> str:
    reals = {name: array for name, array in arrays.items() if array.dtype.kind == "f"}
    outside = [n for n, array in reals.items() if not 0 <= array.min() <= array.max() <= 1]
    if likelihood == "bernoulli" and outside:
        name = outside[0]
        raise ValueError(
            f"dataset.likelihood=bernoulli: expected values in [0, 1], got {found(arrays[name])} "
            f"in {name}"
        )
    if likelihood == "auto":
        coloured = any(are_coloured(a) and not _is_whole(a) for a in reals.values())
        return "gaussian" if outside or coloured else "bernoulli"
    return likelihood


def _check_levels(arrays: Arrays, likelihood: str, levels: int) -> None:
    if likelihood not in ("auto", "bernoulli"):
        raise ValueError(
            f"dataset.levels={levels}: levels are divided to be probabilities, and "
            f"dataset.likelihood={likelihood} takes numbers as they are; expected one of the two"
        )
    for name, array in arrays.items():
        if not _is_whole(array) or array.min() < 0 or array.max() >= levels:
            raise ValueError(
                f"dataset.levels={levels}: expected whole numbers from 0 to {levels - 1}, got "
                f"{found(array)} in {name}"
            )


def _refuse_integers(arrays: Arrays) -> None:
    for name, array in arrays.items():
        if array.dtype.kind in "iu" and array.dtype != np.uint8:
            raise ValueError(
                f"{name}: {found(array)} may be counts as well as levels: expected "
                "dataset.levels=N if they are levels from 0 to N - 1, uint8 if pixels up to 255, "
                f"bool if 0 and 1; {_COUNTS}"
            )


def _refuse_whole_floats(arrays: Arrays) -> None:
    reals = {name: array for name, array in arrays.items() if array.dtype.kind == "f"}
    if not reals or any(array.min() < 0 or not _is_whole(array) for array in reals.values()):
        return
    name, array = max(reals.items(), key=lambda item: item[1].max())
    if array.max() > 1:
        raise ValueError(
            f"{name}: {found(array)}, all of them whole: expected uint8 if they are pixels up to "
            "255 (values.astype('uint8')), dataset.levels=N if levels from 0 to N - 1, "
            f"dataset.likelihood=gaussian if measurements; {_COUNTS}"
        )


def _divisor_of_bytes(arrays: Arrays) -> int:
    """Return what uint8 is divided by to be a probability."""
    own = {name: array for name, array in arrays.items() if array.dtype == np.uint8}
    name, array = max(own.items(), key=lambda item: item[1].max())
    high = int(array.max())
    if 1 < high <= _FEW:
        whole = f"dataset.likelihood={_OF_COLOURS}" if are_coloured(array) else "dataset.levels=256"
        raise ValueError(
            f"{name}: {found(array)} may be levels as well as dark pixels: expected "
            f"dataset.levels={high + 1} if {high} is the highest level, {whole} if 255 is; "
            f"{_COUNTS}"
        )
    return 255 if high > 1 else 1


def _is_whole(array: np.ndarray) -> bool:
    return array.dtype.kind != "f" or bool((array == np.rint(array)).all())


def found(*arrays: np.ndarray) -> str:
    """Return type and range of arrays of one type in words."""
    kind = arrays[0].dtype
    low, high = min(array.min() for array in arrays), max(array.max() for array in arrays)
    if kind.kind == "b" or (0 <= low <= high <= 1 and all(map(_is_whole, arrays))):
        return f"{kind} of 0 and 1"
    return f"{kind} from {low:.6g} to {high:.6g}"
