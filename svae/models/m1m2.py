"""The stacked model M1+M2, which learns classes from few labels."""

from collections.abc import Sequence

import torch
from torch import Size, Tensor, nn
from torch.distributions import Distribution

from svae.distributions.draw import Draw, as_size
from svae.manifolds import Euclidean, Sphere
from svae.models.autoencoder import run, weights
from svae.models.dense import mlp
from svae.models.latent import PUBLISHED, NormalFamily, VonMisesFisherFamily
from svae.models.likelihoods import LIKELIHOODS, likelihood_family
from svae.models.of_classes import OfClasses
from svae.models.product import factor_family


class M1M2(nn.Module):
    """p(y) p(z2) p(z1 | z2, y) p(x | z1) with q(z1 | x) q(y | z1) q(z2 | z1, y), of ReLU networks.

    z1 is the latent vector of `latent`, z2 the style of an observation, which knows nothing of its
    class y, and p(y) is uniform. On a sphere p(z1 | z2, y) is a von Mises-Fisher law, in a
    Euclidean space a Gaussian with a deviation for each coordinate. What depends on the class is
    computed for all K of them at once, and then K is the first axis, or for one class each.

    Args:
        features: D, the length of an observation.
        latent: the family of z1, from `svae.models.latent`, on a sphere or a Euclidean space.
        likelihood: of p(x | z1), one of `svae.models.likelihoods.LIKELIHOODS`, or a class.
        classes: K, from 2 up.
        style: where z2 lies, such as R10 or S10, whose dimension is that of the manifold.
        hidden: widths of the hidden layers of each of the five networks.
        label_weight: alpha of the objective, see `svae.objectives.few_labels`.
        style_concentration: where the concentration of a z2 on a sphere begins, above 1, or "m".
            From the published 1.69, which runs of before had and which is the default for them, it
            falls to 1, where softplus has no slope, before the decoder has found a use for z2.
        latent_concentration: where that of p(z1 | z2, y) begins on a sphere, above 1, or "m"; its
            direction and its concentration are then outputs of their own, as those of a posterior.
            None: one vector kappa mu holds both, as in runs of before. The length of that has to
            become hundreds, and z1 is explained, and classes are found, epochs later.
        unit_variance: whatever reads a point of a sphere S^(m-1) reads sqrt(m) times it.
        gradient: of samples of z2 on a sphere, see `svae.distributions.VonMisesFisher`.
        half: compute the matrix products in bfloat16.

    Raises:
        ValueError: for a family on another manifold, or fewer than two classes.

    Reference: Kingma, Rezende, Mohamed and Welling 2014, "Semi-supervised learning with deep
    generative models", section 2; trained as a whole as by Davidson et al. 2018, section 5.3.
    """

    def __init__(
        self,
        features: int,
        latent,
        likelihood: str | type[nn.Module] = "bernoulli",
        classes: int = 0,
        style: str = "R10",
        hidden: Sequence[int] = (500,),
        label_weight: float = 0.5,
        style_concentration: float | str = PUBLISHED,
        latent_concentration: float | str | None = None,
        unit_variance: bool = False,
        gradient: str = "implicit",
        half: bool = False,
    ):
        super().__init__()
        _check(latent.manifold, likelihood, classes)
        self.latent, self.classes, self.label_weight = latent, classes, label_weight
        start = style_concentration
        self.style = factor_family(style, gradient=gradient, initial_concentration=start)
        self.half, self.unit_variance = half, unit_variance
        m = latent.manifold.ambient_dim
        observed = likelihood_family(likelihood, features)
        self.likelihood_family = observed
        self.latent_law = _law_on(latent.manifold, latent_concentration)
        self.encoder = mlp(features, *hidden, latent.parameters)
        self.classifier = mlp(m, *hidden, classes)
        self.style_encoder = OfClasses(m, classes, hidden, self.style.parameters)
        self.style_decoder = OfClasses(
            self.style.manifold.ambient_dim, classes, hidden, self.latent_law.parameters
        )
        self.decoder = mlp(m, *reversed(hidden), observed.width)

    def posterior(self, observations: Tensor) -> Distribution:
        """Return q(z1 | x) for observations (..., D)."""
        return self.latent.posterior(self._run(self.encoder, observations))

    def likelihood(self, latent: Tensor) -> Distribution:
        """Return p(x | z1) for latent vectors (..., m)."""
        return self.likelihood_family(self._run(self.decoder, self._read(self.latent, latent)))

    def class_logits(self, latent: Tensor) -> Tensor:
        """Return log q(y | z1) (..., K) up to a constant, for latent vectors (..., m)."""
        return self._run(self.classifier, self._read(self.latent, latent))

    def style_posteriors(self, latent: Tensor, classes: Tensor | None = None) -> Distribution:
        """Return q(z2 | z1, y), batch shape (K, ...), for latent vectors (..., m).

        With `classes` (P,), the number of a class for each of (P, m), the batch shape is (P,).
        """
        read = self._read(self.latent, latent)
        read = read.unsqueeze(0) if classes is None else read
        return self.style.posterior(self._run(self.style_encoder, read, classes))

    def style_prior(self) -> Distribution:
        """Return p(z2)."""
        return self.style.prior(next(self.parameters()))

    def latent_given(self, styles: Tensor, classes: Tensor | None = None) -> Distribution:
        """Return p(z1 | z2, y), batch shape (K, ...), for styles (K, ..., m2) or (1, ..., m2).

        With `classes` (P,), the number of a class for each of (P, m2), the batch shape is (P,).
        """
        read = self._read(self.style, styles)
        return self.latent_law.posterior(self._run(self.style_decoder, read, classes))

    def prior(self) -> "LatentPrior":
        """Return p(z1), which can be drawn from."""
        return LatentPrior(self)

    def family_prior(self) -> Distribution:
        """Return the prior that the family of z1 has by itself, which has no part in this model."""
        return self.latent.prior(next(self.parameters()))

    def hidden_weights(self) -> list[nn.Parameter]:
        """Return the matrices that Muon trains, see `AutoEncoder.hidden_weights`."""
        found = [*weights(self.decoder), *weights(self.classifier)]
        networks = (self.encoder, self.style_encoder, self.style_decoder)
        laws = (self.latent, self.style, self.latent_law)
        for network, law in zip(networks, laws, strict=True):
            *hidden, head = weights(network)
            found += [head, *hidden] if getattr(law, "is_normalised", False) else hidden
        return found

    def _run(self, network: nn.Module, *inputs: Tensor | None) -> Tensor:
        return run(network, *inputs, half=self.half)

    def _read(self, family, points: Tensor) -> Tensor:
        """Return points as networks read them."""
        return family.manifold.standardised(points) if self.unit_variance else points


class _Natural:
    """The von Mises-Fisher law in R^m of a vector kappa mu, its natural parameter."""

    def __init__(self, m: int):
        self.parameters, self.posterior = m, likelihood_family("vmf", m)


def _law_on(manifold: Sphere | Euclidean, concentration: float | str | None):
    """Return what makes p(z1 | z2, y) of `parameters` numbers by its method `posterior`."""
    if isinstance(manifold, Euclidean):
        return NormalFamily(manifold.dim)
    if concentration is None:
        return _Natural(manifold.ambient_dim)
    return VonMisesFisherFamily(manifold.dim, initial_concentration=concentration)


def _check(manifold, likelihood: str | type, classes: int) -> None:
    if not isinstance(manifold, Sphere | Euclidean):
        raise ValueError(
            f"network=m1m2: z1 lies in {manifold}, where it has no law given a class, expected a "
            "model on a sphere or a Euclidean space"
        )
    if isinstance(likelihood, str) and likelihood not in LIKELIHOODS:
        raise ValueError(
            f"network=m1m2: has no likelihood {likelihood}, expected {' or '.join(LIKELIHOODS)} "
            "(network=gcn is the network for graphs)"
        )
    if classes < 2:
        raise ValueError(
            f"network=m1m2: learns classes from labels, and the training data have {classes} "
            "classes, expected labels of two or more"
        )


class LatentPrior(Distribution):
    """p(z1) = 1/K sum_y E_p(z2) p(z1 | z2, y), by samples: a class, a style, then z1."""

    arg_constraints = {}

    def __init__(self, model: M1M2):
        self.model = model
        event = Size((model.latent.manifold.ambient_dim,))
        super().__init__(event_shape=event, validate_args=False)

    @torch.no_grad()
    def draw(self, shape=(), generator: torch.Generator | None = None) -> Draw:
        """Return samples, all random numbers of which come from `generator`."""
        model, size = self.model, as_size(shape)
        styles = model.style_prior().draw((size.numel(),), generator).value
        options = {"device": styles.device, "generator": generator}
        classes = torch.randint(model.classes, (len(styles),), **options)
        drawn = model.latent_given(styles, classes).draw((), generator).value
        return Draw.direct(drawn.reshape(*size, -1))
