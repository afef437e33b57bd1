"""When arguments and values are checked: not where nothing can be looked at."""

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


def check_sample(law: Distribution, value: Tensor) -> None:
    """Check a value that a density is asked for, if the distribution validates its arguments."""
    if law._validate_args and value.numel() and not is_mapping():
        law._validate_sample(value)
