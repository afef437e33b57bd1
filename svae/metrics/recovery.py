"""How much of a known latent truth a model has found."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution

from svae.manifolds import Manifold

_PAIRS = 2**20  # a draw and a posterior each, compared at once


@torch.no_grad()
def recovery(model, observations: Tensor, truth: Tensor, generator) -> dict[str, float]:
    """Return how well the posteriors of `observations` (N, D) tell the `truth` (N, m) on S^{m-1}.

    `recovery_correlation` (see `correlation`) and `recovery_error`, the mean angle in degrees that
    is left once they are aligned, compare the truth with the `directions` of the posterior means,
    where these have m numbers too. `prior_mismatch` is `aggregate_kl`, in nats.
    """
    posterior, manifold = model.posterior(observations), model.latent.manifold
    metrics = {"prior_mismatch": aggregate_kl(posterior, model.prior(), generator)}
    loc = getattr(posterior, "loc", None)  # one of a person's own may have none
    if loc is not None and loc.shape == truth.shape:
        truth = truth.double()
        found = directions(loc.double(), manifold)
        metrics["recovery_correlation"] = correlation(truth, found)
        metrics["recovery_error"] = angles(truth, align(truth, found)).mean()
    return {name: value.item() for name, value in metrics.items()}


def directions(loc: Tensor, manifold: Manifold) -> Tensor:
    """Return posterior means (N, m) as unit vectors.

    A Gaussian's are seen from their middle, which serves it better than the origin does.
    """
    return F.normalize(manifold.centred(loc), dim=-1)


def correlation(x: Tensor, y: Tensor) -> Tensor:
    """Return |det X'Y| / sqrt(det X'X det Y'Y) for unit vectors (N, m): the circular correlation.

    1 when an orthogonal map takes one to the other, near 0 when they are independent, and 0 where
    either lie in a plane through the origin, or are fewer than m. Needs no mean direction. Fisher
    and Lee 1983, "A correlation coefficient for circular data"; 1986, "Correlation coefficients for
    random variables on a unit sphere or hypersphere".
    """
    # that of orthonormal bases of the columns, whose cosines with each other it multiplies
    bases = []
    for vectors in (x, y):
        left, sizes, _ = torch.linalg.svd(vectors, full_matrices=False)
        rounding = torch.finfo(sizes.dtype).eps * max(vectors.shape)
        if len(vectors) < vectors.shape[-1] or sizes[-1] <= rounding * sizes[0]:
            return sizes.new_zeros(())
        bases.append(left)
    return torch.linalg.det(bases[0].T @ bases[1]).abs().clamp(max=1)


def align(x: Tensor, y: Tensor) -> Tensor:
    """Return y Q with the orthogonal Q of the greatest sum_i x_i.(y_i Q) (Schoenemann 1966)."""
    left, _, right = torch.linalg.svd(y.T @ x)
    return y @ left @ right


def angles(x: Tensor, y: Tensor) -> Tensor:
    """Return the angles (N,) in degrees between unit vectors (N, m)."""
    half_chord = torch.linalg.vector_norm(x - y, dim=-1) / 2
    return torch.rad2deg(2 * half_chord.clamp(max=1).asin())


def aggregate_kl(posterior: Distribution, prior: Distribution, generator) -> Tensor:
    """Estimate KL(q(z) || p(z)) of the aggregate posterior q(z) = 1/N sum_i q(z | x_i).

    0 where samples of the prior look like codes of data. One draw of each of the N posteriors meets
    all of them; the estimate cannot exceed the mean KL by more than its noise. Hoffman and Johnson
    2016, "ELBO surgery".
    """
    draws = posterior.draw((), generator).value
    rows = max(1, _PAIRS // len(draws))
    log_q = [posterior.log_prob(block[:, None]).logsumexp(1) for block in draws.split(rows)]
    log_count = torch.tensor(len(draws)).log()
    return (torch.cat(log_q) - log_count - prior.log_prob(draws)).mean()
