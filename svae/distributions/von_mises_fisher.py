"""The von Mises-Fisher distribution, its samplers, its gradient estimators and its divergences."""

import torch
from torch import Size, Tensor
from torch.autograd import Function
from torch.distributions import Distribution, register_kl

from svae.distributions.draw import Draw
from svae.distributions.implicit import implicit_slope
from svae.distributions.inversion import draw_by_inversion
from svae.distributions.sphere import (
    broadcast_parameters,
    compose,
    finite_nonnegative,
    joint_batch_shape,
    log_sphere_area,
    unit_sphere,
)
from svae.distributions.ulrich_wood import Height, draw_fixed, draw_until_accepted, envelope
from svae.distributions.uniform import HypersphericalUniform
from svae.special import BesselMoments, bessel_moments

GRADIENTS = ("implicit", "corrected", "score", "pathwise")
SAMPLERS = ("rejection", "inversion")


class VonMisesFisher(Distribution):
    """The von Mises-Fisher distribution on S^{m-1}, of density ~ exp(kappa mu.x).

    log p(x) = kappa (mu.x - 1) - [log M(kappa) - kappa] - log S, with S the area of the sphere and
    M(kappa) = Gamma(m/2) (2/kappa)^(m/2-1) I_{m/2-1}(kappa). kappa = 0 is the uniform distribution.

    `gradient` is the estimator that samples carry in kappa; in mu a sample is turned with mu:

    - implicit: dw/dkappa at a constant value of the distribution function of w = mu.x. Exact.
    - corrected: dw/dkappa at a constant proposal, plus the score of its acceptance as `log_weight`
      (Naesseth, Ruiz, Linderman and Blei 2017, eq. 8-10). Unbiased, noisy.
    - score: the sample is a constant, `log_weight` carries the score in kappa and in mu
      (Paisley, Blei and Jordan 2012; Mnih and Gregor 2014). Unbiased, noisier.
    - pathwise: `corrected` without its score. Biased, by up to 48 %; what public code does.

    Args:
        loc: mu, unit vectors, (..., m), m from 2 up.
        concentration: kappa in [0, 1e8], (...), broadcasts with loc; same dtype.
        gradient: one of the above.
        sampler: "rejection" (Ulrich and Wood) or, for m = 3, "inversion" of the distribution
            function. Inversion rejects nothing, hence has no `corrected`, and its `pathwise` and
            `implicit` are the same exact gradient.
        proposals: how many proposals each sample gets, a fixed number that needs no look at the
            device. If left out, as many as it takes on the CPU, and elsewhere or under
            torch.compile so many that all fail with a probability below 1e-12.
        validate_args: whether parameters and the values given to log_prob are checked.

    Raises:
        ValueError: if m < 2, shapes do not broadcast, dtypes differ or an option does not exist;
            under validate_args also if loc is not of length 1, or concentration is negative,
            infinite or nan.

    Reference: Mardia and Jupp 2000, "Directional statistics", section 9.3.2; Davidson et al. 2018,
    "Hyperspherical variational auto-encoders", section 3.
    """

    arg_constraints = {"loc": unit_sphere, "concentration": finite_nonnegative}
    support = unit_sphere

    def __init__(
        self,
        loc: Tensor,
        concentration: Tensor,
        gradient: str = "implicit",
        sampler: str = "rejection",
        *,
        proposals: int | None = None,
        validate_args: bool | None = None,
    ):
        self.loc, self.concentration = broadcast_parameters(loc, concentration)
        self.gradient, self.sampler, self.proposals = gradient, sampler, proposals
        self._check_options()
        super().__init__(self.concentration.shape, self.loc.shape[-1:], validate_args=validate_args)

    def _check_options(self) -> None:
        if self.gradient not in GRADIENTS:
            raise ValueError(f"gradient must be one of {', '.join(GRADIENTS)}, got {self.gradient}")
        if self.sampler not in SAMPLERS:
            raise ValueError(f"sampler must be one of {', '.join(SAMPLERS)}, got {self.sampler}")
        if self.proposals is not None and self.proposals < 1:
            raise ValueError(f"proposals must be at least 1, got {self.proposals}")
        if self.sampler == "rejection":
            return
        m = self.loc.shape[-1]
        if m != 3:
            raise ValueError(f"sampler=inversion exists for m = 3 alone, got m = {m}")
        if self.gradient == "corrected":
            raise ValueError("gradient=corrected corrects a rejection, sampler=inversion has none")
        if self.proposals is not None:
            raise ValueError(
                f"sampler=inversion makes no proposals, got proposals={self.proposals}"
            )

    @property
    def has_rsample(self) -> bool:
        """Whether a sample alone carries its gradient."""
        return self.gradient in ("implicit", "pathwise")

    def expand(self, batch_shape, _instance=None):
        new = self._get_checked_instance(VonMisesFisher, _instance)
        new.loc = self.loc.expand(Size(batch_shape) + self.event_shape)
        new.concentration = self.concentration.expand(batch_shape)
        new.gradient, new.sampler, new.proposals = self.gradient, self.sampler, self.proposals
        super(VonMisesFisher, new).__init__(
            Size(batch_shape), self.event_shape, validate_args=False
        )
        new._validate_args = self._validate_args
        return new

    def _moments(self) -> BesselMoments:
        """Return what all closed forms are made of, in float64, computed once."""
        if "_kept_moments" not in self.__dict__:
            order = self.event_shape[0] / 2 - 1
            self._kept_moments = bessel_moments(order, self.concentration.double())
        return self._kept_moments

    def _to_dtype(self, value: Tensor) -> Tensor:
        return value.to(self.concentration.dtype)

    def draw(
        self, shape: Size | tuple[int, ...] = (), generator: torch.Generator | None = None
    ) -> Draw:
        """Return samples, the log weights that their gradient needs, and the proposals they took.

        The gradient of E[f] is that of E[f(value) + stop_gradient(f - baseline) * log_weight].
        log_weight is 0 in value; its slope is, with x0 and c those of the sampler's envelope,

        - corrected: (x0 - A) - (kappa/c) (w - x0)^2 in kappa,
        - score: w - A in kappa and kappa (x - w mu) in mu, the score of the law extended to mu of
          any length as that of mu / |mu|,
        - otherwise none, it does not require a gradient then.

        All random numbers come from `generator`.
        """
        with torch.no_grad():
            height = self._height(Size(shape) + self.batch_shape, generator)
        loc, concentration = self.loc, self.concentration
        if self.gradient == "score":
            loc, concentration = loc.detach(), concentration.detach()
        mean_complement = None
        if self.gradient == "implicit" and concentration.requires_grad:
            mean_complement = self._moments().complement.detach()
        value = _Sample.apply(
            loc, concentration, height.below_top, height.above_bottom, mean_complement, generator
        )
        log_weight = self._log_weight(height, value)
        return Draw(value, log_weight, self._to_dtype(height.proposals))

    def _height(self, shape: Size, generator: torch.Generator | None) -> Height:
        concentration = self.concentration.double()
        if self.sampler == "inversion":
            return draw_by_inversion(concentration, shape, generator)
        m = self.event_shape[0]
        fixed = concentration.device.type != "cpu" or torch.compiler.is_compiling()
        if fixed or self.proposals is not None:
            return draw_fixed(m, concentration, shape, generator, self.proposals)
        return draw_until_accepted(m, concentration, shape, generator)

    def _log_weight(self, height: Height, value: Tensor) -> Tensor:
        loc, concentration = self.loc, self.concentration
        if self.gradient == "corrected":
            score = self._acceptance_score(height)
            return (concentration - concentration.detach()) * self._to_dtype(score)
        if self.gradient == "score":
            score = self._moments().complement.detach() - height.below_top
            w = self._to_dtype(1 - height.below_top).unsqueeze(-1)
            tangent = concentration.detach().unsqueeze(-1) * (value - w * loc.detach())
            turn = ((loc - loc.detach()) * tangent).sum(-1)
            return (concentration - concentration.detach()) * self._to_dtype(score) + turn
        return torch.zeros_like(value[..., 0])

    def _acceptance_score(self, height: Height) -> Tensor:
        """Return the slope of the log density of an accepted proposal in kappa."""
        concentration = self.concentration.detach().double()
        hull = envelope(self.event_shape[0], concentration)
        distance = hull.complement - height.below_top  # w - x0
        mean_distance = self._moments().complement.detach() - hull.complement  # x0 - A
        return mean_distance - concentration / hull.c * distance * distance

    def rsample(self, sample_shape=()) -> Tensor:
        """Return samples whose gradient is that of an expectation.

        Raises:
            ValueError: for `corrected` and `score`, whose gradient is not in the samples alone.
        """
        if not self.has_rsample:
            raise ValueError(
                f"gradient={self.gradient} needs the value of the objective: use draw() and add "
                "stop_gradient(f - baseline) * log_weight to f"
            )
        return self.draw(sample_shape).value

    def sample(self, sample_shape=()) -> Tensor:
        with torch.no_grad():
            return self.draw(sample_shape).value

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        height = (self.loc.double() * value.double()).sum(-1)
        log_normaliser = self._moments().log_normaliser + log_sphere_area(self.event_shape[0])
        return self._to_dtype(self.concentration.double() * (height - 1) - log_normaliser)

    def entropy(self) -> Tensor:
        return self._to_dtype(
            log_sphere_area(self.event_shape[0]) - self._moments().relative_entropy
        )

    @property
    def mean(self) -> Tensor:
        """A(kappa) mu, A(kappa) = I_{m/2}(kappa) / I_{m/2-1}(kappa)."""
        return self._to_dtype(self._moments().ratio).unsqueeze(-1) * self.loc

    @property
    def mode(self) -> Tensor:
        """mu, one mode of many if the concentration is 0."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """A' mu_i^2 + E[1 - w^2] (1 - mu_i^2) / (m - 1), the diagonal of the covariance."""
        moments = self._moments()
        across = moments.complement * (1 + moments.ratio) - moments.variance
        across = self._to_dtype(across / (self.event_shape[0] - 1)).unsqueeze(-1)
        along = self._to_dtype(moments.variance).unsqueeze(-1)
        return along * self.loc**2 + across * (1 - self.loc**2)

    @property
    def expected_acceptance_rate(self) -> Tensor:
        """How many samples a proposal of the rejection sampler gives.

        exp(kappa (A - x0) - KL - (m-1)/2 log(1 - x0^2)) with KL that to the uniform distribution:
        1 at kappa = 0, falling to 0.658 (m = 2) up to 0.707 (m large).
        """
        if self.sampler == "inversion":
            return torch.ones_like(self.concentration)
        m, moments = self.event_shape[0], self._moments()
        x0, complement, _ = envelope(m, self.concentration.double())
        shift = self.concentration.double() * (complement - moments.complement)
        width = torch.log(complement) + torch.log1p(x0)
        log_rate = shift - moments.relative_entropy - (m - 1) / 2 * width
        return self._to_dtype(torch.exp(log_rate))


class _Sample(Function):
    """x = w mu + sqrt(1 - w^2) v at given heights w, with its gradients in mu and kappa.

    As mu turns, x turns with it in the plane of mu and dmu: dx = w dmu - (x.dmu) mu on the sphere,
    the coupling that moves x least. In kappa, dx = (mu - w x) dw / (1 - w^2).
    """

    @staticmethod
    def forward(ctx, loc, concentration, below_top, above_bottom, mean_complement, generator):
        sine = torch.sqrt(below_top * above_bottom)
        value = compose(loc, below_top.to(loc.dtype), sine.to(loc.dtype), generator)
        ctx.save_for_backward(loc, concentration, below_top, above_bottom, mean_complement, value)
        return value

    @staticmethod
    def backward(ctx, grad):
        loc, concentration, below_top, above_bottom, mean_complement, value = ctx.saved_tensors
        w = (1 - below_top).to(loc.dtype).unsqueeze(-1)
        tangent = value - w * loc
        radial = (grad * loc).sum(-1)
        grad_loc = grad_concentration = None
        if ctx.needs_input_grad[0]:
            grad_loc = (w * grad - radial.unsqueeze(-1) * tangent).sum_to_size(loc.shape)
        if ctx.needs_input_grad[1]:
            m, kappa = loc.shape[-1], concentration.double()
            if mean_complement is None:
                slope = 1 / envelope(m, kappa).c
            else:
                slope = implicit_slope(m, kappa, mean_complement, below_top, above_bottom)
            # dx/dkappa = (mu - w x) dw/dkappa / (1 - w^2), and mu - w x = (1 - w^2) mu - w tangent
            across = (grad * tangent).sum(-1)
            toward = below_top * above_bottom * radial - (1 - below_top) * across
            grad_concentration = (toward * slope).to(loc.dtype).sum_to_size(concentration.shape)
        return grad_loc, grad_concentration, None, None, None, None


@register_kl(VonMisesFisher, HypersphericalUniform)
def _kl_vmf_uniform(p: VonMisesFisher, q: HypersphericalUniform) -> Tensor:
    return p._to_dtype(p._moments().relative_entropy).expand(joint_batch_shape(p, q))


@register_kl(VonMisesFisher, VonMisesFisher)
def _kl_vmf_vmf(p: VonMisesFisher, q: VonMisesFisher) -> Tensor:
    """KL_p - KL_q - kappa_q (A_p - A_q) + kappa_q A_p (1 - mu_p.mu_q), KL_ to the uniform law."""
    shape = joint_batch_shape(p, q)
    ours, theirs = p._moments(), q._moments()
    kappa = q.concentration.double()
    apart = (p.loc.double() - q.loc.double()).square().sum(-1) / 2
    value = ours.relative_entropy - theirs.relative_entropy
    value = value + kappa * (ours.complement - theirs.complement + ours.ratio * apart)
    return p._to_dtype(value).expand(shape)
