"""Functions with derivatives of their own, as torch.func needs them."""

from collections.abc import Callable
from functools import wraps

import torch
from torch import Tensor
from torch.autograd import forward_ad

try:  # not public: without them all is slower, and a refusal of torch.func is torch's own
    from torch._C import _are_functorch_transforms_active as is_transforming
    from torch._C._functorch import TransformType, get_interpreter_stack
    from torch._functorch.utils import unwrap_dead_wrappers
except ImportError:
    unwrap_dead_wrappers = None

    def is_transforming() -> bool:
        return False


class Function(torch.autograd.Function):
    """A function with derivatives of its own that torch.func transforms, at no cost elsewhere.

    A subclass gives `forward(*inputs)`, `setup_context(ctx, inputs, output)`, `backward(ctx,
    *grads)` and `forward_mode(ctx, *tangents)`, which returns the tangents of the output. Tensors
    come in as inputs only and are kept by `save`. The rule of vmap is made by torch.
    """

    generate_vmap_rule = True
    _eager = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "forward_mode" in vars(cls):
            # torch.compile takes no function that has a `jvp`, even where none is needed
            jvp = staticmethod(_differentiable(cls.forward_mode))
            cls._eager = type(cls)(cls.__name__, (cls,), {"jvp": jvp})

    @classmethod
    def apply(cls, *args):
        # torch binds the arguments to the signature of forward anew at each call, which costs up
        # to three times what else there is to do
        if unwrap_dead_wrappers is None:
            return super(Function, cls._eager or cls).apply(*args)
        above = Function if is_transforming() else torch.autograd.Function
        return super(above, cls._eager or cls).apply(*unwrap_dead_wrappers(args))


def is_mapping() -> bool:
    """Return whether torch.func.vmap is at work: then no value can be looked at."""
    levels = get_interpreter_stack() if is_transforming() else None
    return any(level.key() == TransformType.Vmap for level in levels or ())


def is_constant(tensor: Tensor) -> bool:
    """Return whether nothing can ask for a derivative in a tensor."""
    if tensor.requires_grad or is_transforming():
        return False
    return forward_ad._current_level < 0 or forward_ad.unpack_dual(tensor).tangent is None


def save(ctx, *tensors: Tensor | None) -> None:
    """Keep tensors for both modes: the rule of vmap needs them to be the same."""
    ctx.save_for_backward(*tensors)
    ctx.save_for_forward(*tensors)


class _Primals:
    """A context whose saved tensors have no tangents of this derivative, only those of others."""

    def __init__(self, ctx):
        self._ctx = ctx

    def __getattr__(self, name: str):
        return getattr(self._ctx, name)

    @property
    def saved_tensors(self) -> tuple[Tensor | None, ...]:
        saved = self._ctx.saved_tensors
        return tuple(t if t is None else forward_ad.unpack_dual(t).primal for t in saved)


def _differentiable(forward_mode: Callable) -> Callable:
    """Return a `jvp` with a derivative in forward mode itself, which torch drops without a word."""

    @wraps(forward_mode)
    def jvp(ctx, *tangents):
        with forward_ad._set_fwd_grad_enabled(True):
            return forward_mode(_Primals(ctx), *tangents)

    return jvp


class Known(Function):
    """A function of x whose value and slope at x are known already, both (...) as x.

    `derivative` computes the slope anew, as a differentiable function of x: for what is beyond a
    first derivative.
    """

    @staticmethod
    def forward(x, derivative, value, slope):
        return value.to(x.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, ctx.derivative, _, slope = inputs
        save(ctx, x, slope.to(x.dtype))

    @staticmethod
    def backward(ctx, grad):
        x, slope = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted
            slope = ctx.derivative(x)
        return grad * slope, None, None, None

    @staticmethod
    def forward_mode(ctx, tangent, *_):
        return tangent * ctx.derivative(ctx.saved_tensors[0])
