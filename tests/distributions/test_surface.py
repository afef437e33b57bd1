"""Every distribution meets torch: shapes, empty batches, torch.compile."""

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Distribution, kl_divergence

from svae.distributions import (
    DiagonalNormal,
    HypersphericalUniform,
    PowerSpherical,
    StandardNormal,
    VonMisesFisher,
)
from svae.models.likelihoods import BernoulliPixels, RealVectors, UnitVectors

M = 3


def spherical(make, **options):
    return lambda v, k, **checks: make(F.normalize(v, dim=-1), k, **options, **checks)


# each of vectors (..., M) and positive numbers (...)
MAKERS = {
    "vmf": spherical(VonMisesFisher),
    "vmf_fixed": spherical(VonMisesFisher, proposals=9),
    "vmf_inversion": spherical(VonMisesFisher, sampler="inversion"),
    "power_spherical": spherical(PowerSpherical),
    "uniform": lambda v, k, **checks: HypersphericalUniform(M, k.shape, dtype=k.dtype, **checks),
    "normal": lambda v, k, **checks: DiagonalNormal(v, k.unsqueeze(-1), **checks),
    "standard_normal": lambda v, k, **checks: StandardNormal(M, dtype=k.dtype).expand(k.shape),
}
LIKELIHOODS = {
    "pixels": BernoulliPixels,
    "real": lambda v: RealVectors(v, v.exp()),
    "unit": lambda v: UnitVectors(v.unsqueeze(-2)),
}


def parameters(*batch, dtype=torch.float64):
    torch.manual_seed(len(batch))
    return torch.randn(*batch, M, dtype=dtype), torch.rand(*batch, dtype=dtype) * 9 + 0.5


def prior(q):
    kind = StandardNormal if isinstance(q, DiagonalNormal) else HypersphericalUniform
    return kind(M, dtype=torch.float64)


@pytest.mark.parametrize("name", MAKERS)
def test_a_number_is_a_shape_of_samples(name):
    q = MAKERS[name](*parameters(4))
    assert q.sample(5).shape == q.rsample(5).shape == (5, 4, M)
    draw = q.draw(5)
    assert draw.value.shape == (5, 4, M)
    assert draw.log_weight.shape == draw.proposals.shape == (5, 4)
    torch.manual_seed(0)
    value = q.sample(2)
    torch.manual_seed(0)
    assert torch.equal(value, q.sample(torch.Size([2])))


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_a_number_is_a_shape_of_observations(name):
    assert LIKELIHOODS[name](parameters(4)[0]).sample(5).shape == (5, 4, M)


@pytest.mark.parametrize("batch", [(0,), (2, 0)])
@pytest.mark.parametrize("name", MAKERS)
def test_a_batch_may_be_empty(name, batch):
    v, k = (p.requires_grad_() for p in parameters(*batch))
    q = MAKERS[name](v, k, validate_args=True)
    draw = q.draw(2)
    assert draw.value.shape == (2, *batch, M)
    divergence, log_prob = kl_divergence(q, prior(q)), q.log_prob(draw.value.detach())
    assert divergence.shape == q.entropy().shape == batch
    assert log_prob.shape == (2, *batch)
    assert q.mean.shape == q.variance.shape == (*batch, M)
    loss = sum(t.sum() for t in (draw.value, divergence, log_prob, q.entropy()))
    if loss.requires_grad:
        assert all(
            slope.shape == p.shape
            for slope, p in zip(
                torch.autograd.grad(loss, (v, k), materialize_grads=True), (v, k), strict=True
            )
        )


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_there_may_be_no_observations(name):
    likelihood = LIKELIHOODS[name](parameters(0)[0])
    assert likelihood.log_prob(likelihood.sample(2)).shape == (2, 0)


@pytest.mark.slow  # compiles
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.compile's own
@pytest.mark.parametrize("name", MAKERS)
def test_a_compiled_program_takes_batches_of_several_sizes(name, monkeypatch):
    # as torch.compile does by itself the first time, for good
    monkeypatch.setattr(Distribution, "_validate_args", False)

    def step(v, k):
        q = MAKERS[name](v, k, validate_args=False)
        draw = q.draw((2,))
        return q.log_prob(draw.value).sum() + kl_divergence(q, prior(q)).sum()

    torch._dynamo.reset()
    compiled = torch.compile(step, backend="eager", fullgraph=True, dynamic=True)
    for size in (4, 7):
        assert compiled(*parameters(size)).isfinite()
