"""What a data set of one's own has to be, checked before a run begins."""

from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from svae.data.splits import MISSING, DataSet, Split
from svae.models.foreign import Part, is_count, is_own, name_of
from svae.models.likelihoods import LIKELIHOODS
from svae.models.protocol import find_likelihood
from svae.noise import undisturbed


def check_data(data: Any, target: Any) -> None:
    """Refuse what the function `target` gives unless it is a good data set."""
    if is_own(target):
        return
    part = Part("dataset", "data set", target)
    if not isinstance(data, DataSet):
        part.refuse(f"gives a {type(data).__name__}", "an svae.data.splits.DataSet")
    _check_data(part, data)


def check_given(data: DataSet) -> None:
    """Refuse a data set that a person has in memory unless it is a good one.

    A likelihood that is a class is left to `svae.data.stored`, which does not store it.
    """
    _check_data(Part("data", "data set", data), data, is_stored=True)


def _check_data(part: Part, data: DataSet, *, is_stored: bool = False) -> None:
    if data.likelihood != "edges":
        for name in ("train", "validation", "test"):
            _check_split(part, data, name, getattr(data, name))
    _check_names(part, data)
    if isinstance(data.likelihood, str) or not is_stored:
        _check_likelihood(part, data.likelihood, data.spec.features)
    shape = data.image_shape
    if shape is not None and not (_is_picture(shape) and prod(shape) == data.spec.features):
        part.refuse(
            f"has the image_shape {shape}",
            f"(height, width) of {data.spec.features} numbers, or (3, height, width)",
        )


def _check_names(part: Part, data: DataSet) -> None:
    names = data.class_names
    if isinstance(names, str) or not hasattr(names, "__len__"):
        part.refuse(f"has the class_names {names!r:.40}", "a list of texts")
    if not len(names):
        return
    for split in (data.train, data.validation, data.test):
        for label in [] if split.labels is None else split.labels.unique().tolist():
            if not MISSING <= label < len(names):
                wanted = f"{MISSING} to {len(names) - 1}"
                part.refuse(f"has {len(names)} class_names and the label {label}", wanted)


def _is_picture(shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 or (len(shape) == 3 and shape[0] == 3)


def _check_likelihood(part: Part, likelihood: Any, features: int) -> None:
    if isinstance(likelihood, str):
        if likelihood not in (*LIKELIHOODS, "edges"):
            part.refuse(f"has the likelihood {likelihood}", f"{', '.join(LIKELIHOODS)} or a class")
    elif not (isinstance(likelihood, type) and issubclass(likelihood, nn.Module)):
        part.refuse(f"has the likelihood {likelihood!r:.60}", "a name or a class of nn.Module")
    elif find_likelihood(name_of(likelihood), part.thing) is not likelihood:
        part.refuse(
            f"has the likelihood {name_of(likelihood)}, which its module does not hold",
            "a class at the top of the module, or imported there, so that a saved run finds it",
        )
    else:
        with undisturbed("cpu"):
            made = Part("likelihood", "likelihood", likelihood).call(likelihood, features)
        Part("likelihood", "likelihood", made).have(
            width=("how many numbers the decoder returns", is_count)
        )


def _check_split(part: Part, data: DataSet, name: str, split: Any) -> None:
    if not isinstance(split, Split):
        part.refuse(f"has a {type(split).__name__} as {name}", "an svae.data.splits.Split")
    values, labels = split.values, split.labels
    if not isinstance(values, Tensor) or values.dim() != 2 or not len(values):
        shape = tuple(getattr(values, "shape", ()))
        part.refuse(f"has {name} values of shape {shape}", "a tensor (N, D) of observations")
    if values.shape[1] != (features := data.train.values.shape[1]):
        part.refuse(f"has {name} values of {values.shape[1]} numbers", f"{features} as train")
    of_bytes = str(data.likelihood).startswith("discretised_")
    bytes_are_fine = split.binary or of_bytes or not isinstance(data.likelihood, str)
    if values.dtype != torch.float32 and not (bytes_are_fine and values.dtype == torch.uint8):
        part.refuse(f"has {name} values of {values.dtype}", "torch.float32 (binary: or uint8)")
    if of_bytes and not split.has_levels:
        part.refuse(f"has {name} values of {values.dtype}", "torch.uint8, and not binary")
    if not values.isfinite().all():
        part.refuse(f"has {name} values that are not all finite", "finite numbers")
    highest = 255 if values.dtype == torch.uint8 else 1
    if data.likelihood == "bernoulli" and (values.min() < 0 or values.max() > highest):
        part.refuse(f"has {name} values from {values.min():g} to {values.max():g}", "0 to 1")
    if labels is not None:
        _check_labels(part, name, labels, len(values))


def _check_labels(part: Part, name: str, labels: Any, count: int) -> None:
    if not isinstance(labels, Tensor):
        part.refuse(f"has a {type(labels).__name__} as {name} labels", f"a tensor ({count},)")
    if labels.shape != (count,) or labels.dtype != torch.int64:
        found = f"{labels.dtype} of shape {tuple(labels.shape)}"
        part.refuse(f"has {name} labels {found}", f"torch.int64 of shape ({count},)")
