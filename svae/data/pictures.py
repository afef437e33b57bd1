"""Where the channels of images stand in an array."""

import numpy as np

_GREY, _COLOURED = 1, 3


def channel_axis(name: str, shape: tuple[int, ...]) -> int | None:
    """Return the axis of the channels of images (N, ...): 1, 3, or None where there is none.

    Raises:
        ValueError: for four axes of which neither or both of these may be it; `name` is the
            array's.
    """
    if len(shape) != 4:
        return None
    found = [axis for axis in (1, 3) if shape[axis] in (_GREY, _COLOURED)]
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(
            f"{name}: of shape {shape}, channels may stand first as well as last, expected one of "
            "the two"
        )
    raise ValueError(
        f"{name}: expected {_GREY} or {_COLOURED} channels, first or last, got shape {shape}; the "
        "fourth of RGBA is left out by values[..., :3]"
    )


def with_planes(array: np.ndarray, axis: int | None) -> np.ndarray:
    """Return images as (N, 3, height, width), grey ones as (N, height, width); all else as it is.

    `axis` is that of the channels.
    """
    if axis is None:
        return array
    planes = np.moveaxis(array, axis, 1)
    return planes[:, 0] if planes.shape[1] == _GREY else planes


def are_coloured(array: np.ndarray) -> bool:
    """Return whether what `with_planes` gave are coloured images."""
    return array.ndim == 4


def layout(axis: int | None) -> str:
    """Say where the channels stand; "" where there are none."""
    return "" if axis is None else f"; channels stand {'first' if axis == 1 else 'last'}"
