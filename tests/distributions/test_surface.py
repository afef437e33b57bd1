"""Every distribution meets torch: shapes, empty batches, torch.compile, torch.func."""

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Distribution, kl_divergence
from torch.func import grad, hessian, jacfwd, jacrev, vmap

from svae import autograd
from svae.distributions import (
    DiagonalNormal,
    HypersphericalUniform,
    PowerSpherical,
    SphericalCauchy,
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
    "spherical_cauchy": spherical(SphericalCauchy),
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
    assert q.sample(5).shape == (5, 4, M)
    assert not q.has_rsample or q.rsample(5).shape == (5, 4, M)
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


POINT = F.normalize(torch.tensor([0.3, -1.0, 0.5], dtype=torch.float64), dim=-1)
FORMS = {
    "log_prob": lambda q: q.log_prob(POINT),
    "entropy": lambda q: q.entropy(),
    "divergence": lambda q: kl_divergence(q, prior(q)),
    "moments": lambda q: q.mean.square().sum(-1) + q.variance.square().sum(-1),
}


def joined(pair):
    return torch.cat((pair[0], pair[1].unsqueeze(-1)), -1)


def eager(form, v, k):
    """Return value, gradient and Hessian in (v, k), by autograd alone, of each row."""
    rows = []
    for p in zip(v, k, strict=True):
        p = [t.clone().requires_grad_() for t in p]
        value = form(*p) + 0 * (p[0].sum() + p[1])
        slopes = joined(torch.autograd.grad(value, p, create_graph=True))
        second = [
            torch.autograd.grad(s, p, retain_graph=True, materialize_grads=True)
            if s.requires_grad
            else [torch.zeros_like(t) for t in p]
            for s in slopes
        ]
        rows.append((value.detach(), slopes.detach(), torch.stack([joined(h) for h in second])))
    return [torch.stack(column) for column in zip(*rows, strict=True)]


def second(transform):
    def call(form, v, k):
        blocks = vmap(transform(form, (0, 1)))(v, k)
        rows = [joined(block) for block in blocks]
        return torch.cat((rows[0], rows[1].unsqueeze(-2)), -2)

    return call


# of a form (v, k) -> () and batches of both: value, gradient or Hessian of each row
TRANSFORMS = {
    "vmap": (0, lambda form, v, k: vmap(form)(v, k)),
    "grad of vmap": (
        1,
        lambda form, v, k: joined(grad(lambda *p: vmap(form)(*p).sum(), (0, 1))(v, k)),
    ),
    "vmap of grad": (1, lambda form, v, k: joined(vmap(grad(form, (0, 1)))(v, k))),
    "vmap of jacfwd": (1, lambda form, v, k: joined(vmap(jacfwd(form, (0, 1)))(v, k))),
    "jacrev": (1, lambda form, v, k: joined([t.sum(1) for t in jacrev(vmap(form), (0, 1))(v, k)])),
    "hessian": (2, second(hessian)),
    "jacrev of jacrev": (2, second(lambda form, n: jacrev(jacrev(form, n), n))),
    "jacfwd of jacfwd": (2, second(lambda form, n: jacfwd(jacfwd(form, n), n))),
}


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # torch's own
@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("name", ["vmf", "power_spherical", "uniform", "normal"])
def test_the_transforms_of_torch_are_those_of_autograd(name, transform):
    order, call = TRANSFORMS[transform]
    v, k = parameters(2)
    for make in FORMS.values():

        def form(v, k, make=make):
            return make(MAKERS[name](v, k)) + 0 * (v.sum() + k)

        expected = eager(form, v, k)[order]
        torch.testing.assert_close(call(form, v, k), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("called_before", [False, True])
@pytest.mark.parametrize("name", ["vmf", "vmf_inversion", "power_spherical"])
def test_a_mapped_density_does_not_depend_on_what_was_called_before(name, called_before):
    v, k = parameters(4, dtype=torch.float32)
    q = MAKERS[name](v, k)
    if called_before:
        _ = q.entropy(), q.mean, q.rsample()
    x = F.normalize(torch.randn(7, 1, M), dim=-1)
    torch.testing.assert_close(vmap(q.log_prob)(x), q.log_prob(x), rtol=1e-6, atol=1e-6)


MAKERS |= {
    f"vmf_{gradient}": spherical(VonMisesFisher, gradient=gradient)
    for gradient in ("pathwise", "corrected", "score")
}
SAMPLERS = [name for name in MAKERS if not name.startswith("standard")]


SLOWER = "ignore:There is a performance drop.*_standard_gamma_grad"  # one of torch's functions


@pytest.mark.filterwarnings(SLOWER)
@pytest.mark.parametrize("name", SAMPLERS)
def test_each_row_of_a_map_draws_its_own_samples(name):
    v, k = (p[:1].expand(50, *p.shape[1:]) for p in parameters(2))
    draw = vmap(lambda v, k: MAKERS[name](v, k).draw(20).value, randomness="different")
    torch.manual_seed(0)
    x = draw(v, k)
    assert x.shape == (50, 20, M)
    assert len(x[:, 0, 0].unique()) == 50
    if name != "uniform":
        mean = MAKERS[name](v[0], k[0]).mean
        error = (x.mean((0, 1)) - mean) / x.flatten(0, 1).std(0) * 1000**0.5
        assert (error.abs() < 5).all()
    with pytest.raises(RuntimeError, match="randomness"):
        vmap(lambda v, k: MAKERS[name](v, k).draw().value)(v, k)


def first_coordinate(name):
    def loss(v, k):
        draw = MAKERS[name](v, k).draw(3)
        f = draw.value[..., 0]
        return (f + f.detach() * draw.log_weight).sum()

    return loss


@pytest.mark.filterwarnings(SLOWER, "ignore:.torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize(
    "name", ["vmf", "vmf_pathwise", "vmf_corrected", "vmf_score", "power_spherical", "normal"]
)
def test_samples_have_the_gradient_that_autograd_gives_them_and_no_second(name):
    loss, (v, k) = first_coordinate(name), parameters(4)
    torch.manual_seed(0)
    found = grad(loss, (0, 1))(v, k)
    v, k = v.requires_grad_(), k.requires_grad_()
    torch.manual_seed(0)
    for ours, theirs in zip(found, torch.autograd.grad(loss(v, k), (v, k)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)
    assert vmap(grad(loss), randomness="different")(v, k).shape == v.shape
    if name != "normal":  # whose samples have every derivative

        def with_more(k):
            return loss(v, k) + k.pow(3).sum()

        with pytest.raises(NotImplementedError, match="no second"):
            grad(lambda k: grad(with_more)(k).sum())(k)
        with pytest.raises((NotImplementedError, RuntimeError)):
            jacfwd(with_more, randomness="different")(k)
        (slope,) = torch.autograd.grad(with_more(k), k, create_graph=True)
        with pytest.raises(NotImplementedError, match="no second"):
            slope.sum().backward()


@pytest.mark.parametrize("kappa", [0.0, 1e-3, 4.0, 1e4])
def test_the_divergence_of_the_uniform_law_is_that_of_concentration_0(kappa):
    loc = F.normalize(parameters(5)[0], dim=-1)
    q, flat = VonMisesFisher(loc, kappa), VonMisesFisher(loc.flip(-1), 0.0)
    found = kl_divergence(HypersphericalUniform(M, (2, 1)), q)
    assert found.shape == (2, 5)
    torch.testing.assert_close(found[0], kl_divergence(flat, q), rtol=1e-9, atol=1e-15)


def test_derivatives_do_not_depend_on_what_torch_keeps_private(monkeypatch):
    def slopes():
        v, k = (p.requires_grad_() for p in parameters(4))
        q = MAKERS["vmf"](v, k)
        loss = kl_divergence(q, prior(q)).sum() + q.log_prob(POINT).sum()
        return torch.autograd.grad(loss, (v, k))

    expected = slopes()
    monkeypatch.setattr(autograd, "unwrap_dead_wrappers", None)
    assert all(map(torch.equal, slopes(), expected))
