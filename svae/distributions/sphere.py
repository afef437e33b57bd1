"""The unit sphere S^{m-1} in R^m: its area, its constraint, and points at a given angle."""

import math
import warnings
from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints

from svae.autograd import Function
from svae.noise import Source, normal


class _UnitSphere(constraints.Constraint):
    """Vectors of length 1, up to a hundred roundings of float32, or of their dtype if coarser."""

    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(value, dim=-1)
        return (norm - 1).abs() <= 100 * max(map(_rounding, (value.dtype, torch.float32)))


def _rounding(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).eps


unit_sphere = _UnitSphere()
FORWARD_MODE = (
    "samples and encoders have a first derivative in reverse mode alone: use torch.func.grad, "
    "vjp or jacrev"
)
_NO_SECOND = "samples and encoders have a first derivative in their parameters, no second"
# inf is refused: the limit is a point mass, without density or entropy
finite_nonnegative = constraints.half_open_interval(0.0, math.inf)


def log_sphere_area(m: int) -> float:
    """Returns log(2 pi^{m/2} / Gamma(m/2)), the log area of the unit sphere in R^m."""
    return math.log(2) + m / 2 * math.log(math.pi) - math.lgamma(m / 2)


def broadcast_parameters(loc: Tensor, concentration: Tensor | float) -> tuple[Tensor, Tensor]:
    """Returns loc (..., m) and concentration (...) expanded to one batch shape.

    A number is taken as a concentration in the dtype of loc. A concentration (B, 1) beside loc
    (B, m) makes B x B distributions, as torch broadcasts them, and a warning.

    Raises:
        ValueError: if loc is no tensor of floats, m < 2, concentration is neither a tensor nor a
            number, the shapes do not broadcast, or the dtypes differ.
    """
    refuse_untensored("loc", loc)
    m = loc.shape[-1] if loc.dim() else 0
    if m < 2:
        raise ValueError(f"loc needs m >= 2 entries in its last axis, got shape {tuple(loc.shape)}")
    if not loc.is_floating_point():
        raise ValueError(f"loc needs floating point numbers, got {loc.dtype}")
    if not isinstance(concentration, Tensor):
        try:
            concentration = loc.new_tensor(concentration)
        except (TypeError, ValueError, RuntimeError):
            raise ValueError(
                f"concentration needs a tensor or a number, got {concentration!r:.60}"
            ) from None
    if loc.dtype != concentration.dtype:
        raise ValueError(
            f"loc and concentration need one dtype, got {loc.dtype} and {concentration.dtype}"
        )
    if loc.shape[:-1] == concentration.shape:
        return loc, concentration
    try:
        batch = torch.broadcast_shapes(loc.shape[:-1], concentration.shape)
    except RuntimeError as error:
        raise ValueError(
            f"loc of shape {tuple(loc.shape)} and concentration of shape "
            f"{tuple(concentration.shape)} have batch shapes that do not broadcast"
        ) from error
    B = len(loc)
    if loc.dim() == 2 and B > 1 and concentration.shape == (B, 1):
        warnings.warn(
            f"a concentration of shape ({B}, 1) beside {B} locations makes a batch of {B} x {B}: "
            "for one each use concentration.squeeze(-1)",
            stacklevel=3,
        )
    return loc.expand(*batch, m), concentration.expand(batch)


def refuse_untensored(name: str, value: Any) -> None:
    """Refuse what is no tensor, such as a list or an array.

    Raises:
        ValueError: then.
    """
    if not isinstance(value, Tensor):
        kind = type(value).__name__
        raise ValueError(f"{name} needs a tensor, such as torch.tensor({name}), got {kind}")


def checked(loc: Tensor, validate_args: bool | None) -> Tensor:
    """Return loc, if arguments are validated of length 1 to a hundred roundings of its dtype.

    Unit vectors of float32 are those of float64 too, once they are normalised.

    Raises:
        ValueError: if a length differs from 1 by more than a hundred roundings of float32.
    """
    if not (Distribution._validate_args if validate_args is None else validate_args):
        return loc
    length = torch.linalg.vector_norm(loc.detach(), dim=-1, keepdim=True)
    if not unit_sphere.check(loc).all():
        worst = (length - 1).abs().nan_to_num(math.inf).argmax()
        vector = loc.detach().reshape(-1, loc.shape[-1])[worst]
        raise ValueError(
            f"loc needs vectors of length 1, got {vector} of length {length.reshape(-1)[worst]:.7g}"
        )
    if (length - 1).abs().max() <= 100 * _rounding(loc.dtype):
        return loc
    # a sum keeps nothing that a first backward pass would free
    return loc + (loc / length - loc).detach()


def refuse_second(gradient: Tensor, *parameters: Tensor) -> Tensor:
    """Return the gradient in parameters, of which a derivative in these is refused.

    torch's `once_differentiable` gives up the graph, without a word, where the gradient that comes
    in does not require one itself.
    """
    if not torch.is_grad_enabled() or torch.compiler.is_compiling():
        return gradient
    return _Refused.apply(gradient, *parameters)


class _Refused(Function):
    @staticmethod
    def forward(gradient, *parameters):
        return gradient.view_as(gradient)

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, grad):
        raise NotImplementedError(_NO_SECOND)

    @staticmethod
    def forward_mode(ctx, *tangents):
        raise NotImplementedError(_NO_SECOND)


def joint_batch_shape(p: Distribution, q: Distribution) -> Size:
    """Returns the batch shape of a divergence between p and q.

    Raises:
        ValueError: if p and q live in spaces of different dimension.
    """
    if p.event_shape != q.event_shape:
        raise ValueError(
            f"a divergence needs one space, got R^{p.event_shape[0]} and R^{q.event_shape[0]}"
        )
    if len(q.batch_shape) == 0:  # as a prior's: torch.broadcast_shapes is slower than a divergence
        return p.batch_shape
    return torch.broadcast_shapes(p.batch_shape, q.batch_shape)


def uniform_direction(shape: Size, m: int, like: Tensor, generator: Source = None) -> Tensor:
    """Returns unit vectors, uniform on S^{m-1}, of shape (*shape, m) with the dtype of like."""
    g = normal((*shape, m), like, generator)
    return g.div_(torch.linalg.vector_norm(g, dim=-1, keepdim=True))


def place(loc: Tensor, complement: Tensor, sine: Tensor, generator: Source = None) -> Tensor:
    """Returns x = w loc + sqrt(1 - w^2) v, v uniform among the unit vectors orthogonal to loc.

    v is a normal vector from which loc is projected out, twice: once leaves the sphere by 1e-3 in
    float32 where the vector happens to lie along loc. Without gradient, see `pull_back`.

    Args:
        loc: unit vectors, (..., m).
        complement: 1 - w in [0, 2]; its shape is that of the samples.
        sine: sqrt(1 - w^2) in [0, 1], same shape.
        generator: the source of the direction v.
    """
    m, w = loc.shape[-1], 1.0 - complement
    if m == 2:
        # on the circle little may be left to normalise, but there are just two directions
        signed = sine.copysign(normal(sine.shape, sine, generator, event_dim=0))
        across = torch.stack((-loc[..., 1], loc[..., 0]), -1)
        return w.unsqueeze(-1) * loc + signed.unsqueeze(-1) * across
    g = normal((*complement.shape, m), loc, generator)
    g = torch.addcmul(g, loc, torch.linalg.vecdot(g, loc).unsqueeze(-1), value=-1)
    scale = sine / torch.linalg.vector_norm(g, dim=-1)
    rest = torch.addcmul(w, scale, torch.linalg.vecdot(g, loc), value=-1)
    return torch.addcmul(g.mul_(scale.unsqueeze(-1)), loc, rest.unsqueeze(-1))


def pull_back(grad: Tensor, x: Tensor, loc: Tensor, complement: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the gradient in loc, and that in w times 1 - w^2, of a loss of gradient grad in x.

    On the sphere dx = (x.loc) dloc - (x.dloc) loc: x turns in the plane of loc and dloc, which is
    the coupling that moves it least. In w, dx = (loc - w x) dw / (1 - w^2).
    """
    w = 1.0 - complement
    column = w.unsqueeze(-1)
    tangent = torch.addcmul(x, column, loc, value=-1)
    along = torch.linalg.vecdot(grad, loc)
    across = torch.linalg.vecdot(grad, tangent)
    in_loc = torch.addcmul(column * grad, along.unsqueeze(-1), tangent, value=-1)
    in_w = torch.addcmul((2.0 - complement).mul_(complement) * along, w, across, value=-1)
    return in_loc, in_w


def sum_samples(grad: Tensor, shape: Size) -> Tensor:
    """Returns the gradient of a parameter of `shape` from those of its samples."""
    return grad.view(shape) if grad.numel() == shape.numel() else grad.sum_to_size(shape)


class Placement(Function):
    """Samples x at drawn heights w, differentiable in loc and in the concentration that w came by.

    forward takes loc, concentration, then in float64 and in the shape of the samples 1 - w, 1 + w
    and (dw/dconcentration) / (1 - w^2), then the generator of the directions.
    """

    @staticmethod
    def forward(loc, concentration, below, above, slope, generator):
        sine = torch.sqrt(below * above).to(loc.dtype)
        return place(loc, below.to(loc.dtype), sine, generator)

    @staticmethod
    def setup_context(ctx, inputs, output):
        loc, concentration, below, _, slope, _ = inputs
        ctx.save_for_backward(output, loc, below, slope, concentration)

    @staticmethod
    def backward(ctx, grad):
        x, loc, below, slope, concentration = ctx.saved_tensors
        with torch.no_grad():
            complement = below.to(loc.dtype)
            in_loc, in_w = pull_back(grad, x, loc, complement)
            in_concentration = sum_samples((in_w * slope).to(grad.dtype), concentration.shape)
            in_loc = sum_samples(in_loc, loc.shape)
        both = (refuse_second(g, grad, loc, concentration) for g in (in_loc, in_concentration))
        return *both, None, None, None, None

    @staticmethod
    def forward_mode(ctx, *tangents):
        raise NotImplementedError(FORWARD_MODE)
