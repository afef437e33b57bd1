"""When arguments and values are checked: not where nothing can be looked at."""

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from svae.autograd import is_mapping


def checks(validate_args: bool | None, parameter: Tensor) -> bool | None:
    """Return `validate_args`, False for a batch without rows and under torch.func.vmap.

    torch's constraints of vectors cannot tell the length of none, and vmap refuses to say whether
    anything is true of its values.
    """
    if validate_args is False:
        return False
    return validate_args if parameter.numel() and not is_mapping() else False


def check_sample(law: Distribution, value: Any) -> None:
    """Check a value that a density is asked for, if the distribution validates its arguments.

    Raises:
        ValueError: then for a value outside the support, and always for what is no tensor.
    """
    refuse_listed(value)
    if law._validate_args and value.numel() and not is_mapping():
        law._validate_sample(value)


def refuse_listed(value: Any) -> None:
    """Refuse to give the density of what is no tensor.

    Raises:
        ValueError: then.
    """
    if not isinstance(value, Tensor):
        raise ValueError(f"log_prob needs a tensor, got {type(value).__name__}")


def joint_dtype(value: Tensor, parameter: Tensor) -> torch.dtype:
    """Return the dtype of a density, the wider one, as torch's own distributions have it."""
    return torch.promote_types(value.dtype, parameter.dtype)
