"""Arguments of distributions: what cannot be used is refused in a sentence, dtypes are joined."""

import pytest
import torch
import torch.nn.functional as F

from svae.distributions import (
    DiagonalNormal,
    PowerSpherical,
    Product,
    ScaledVonMisesFisher,
    SphericalCauchy,
    VonMisesFisher,
)
from svae.models.likelihoods import BernoulliPixels
from tests.distributions.test_surface import LIKELIHOODS, MAKERS, parameters


def _scaled(v, k):
    return ScaledVonMisesFisher(F.normalize(v, dim=-1), k, v)


def _product(v, k):
    return Product([MAKERS["vmf"](v, k), MAKERS["normal"](v, k)], [4, 4])


KINDS = {name: MAKERS[name] for name in MAKERS if not name.startswith("vmf_")}
KINDS |= {
    "scaled": _scaled,
    "product": _product,
    **{n: lambda v, _, n=n: LIKELIHOODS[n](v) for n in LIKELIHOODS},
}


@pytest.mark.parametrize("shape", [-1, (2, -1), 2.5, "3", (1.5,)], ids=str)
@pytest.mark.parametrize("name", KINDS)
def test_no_shape_of_samples_is_refused_in_a_sentence(name, shape):
    v, k = parameters(4)
    q = KINDS[name](v, k)
    with pytest.raises(ValueError, match="shape of samples needs whole numbers from 0 up, got"):
        q.sample(shape)


@pytest.mark.parametrize("ours", [torch.float32, torch.float64])
@pytest.mark.parametrize("theirs", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", KINDS)
def test_a_density_has_the_wider_dtype(name, ours, theirs):
    v, k = parameters(4, dtype=ours)
    q = KINDS[name](v, k)
    if name == "pixels" and ours != theirs:
        pytest.skip("pixels come in the dtype of the model")
    assert q.log_prob(q.sample().to(theirs)).dtype == torch.promote_types(ours, theirs)


@pytest.mark.parametrize("loc", [[1.0, 0.0, 0.0], torch.ones(3).numpy(), 1.0], ids=type)
@pytest.mark.parametrize(
    "make",
    [
        *(VonMisesFisher, PowerSpherical, SphericalCauchy, BernoulliPixels),
        lambda loc, _: ScaledVonMisesFisher(loc, 1.0, torch.zeros(3)),
        lambda loc, _: ScaledVonMisesFisher(torch.eye(3)[0], 1.0, loc),
        lambda loc, _: DiagonalNormal(loc, torch.ones(3)),
        lambda loc, _: DiagonalNormal(torch.ones(3), loc),
    ],
)
def test_what_is_no_tensor_is_refused_by_its_name(make, loc):
    with pytest.raises(ValueError, match=r"needs a tensor, such as torch.tensor\(\w+\), got "):
        make(loc, 1.0)


@pytest.mark.parametrize("concentration", ["2", None, [[1.0], 2.0]], ids=str)
@pytest.mark.parametrize("make", [VonMisesFisher, PowerSpherical, SphericalCauchy])
def test_what_is_no_concentration_is_refused(make, concentration):
    with pytest.raises(ValueError, match="concentration needs a tensor or a number, got"):
        make(torch.eye(3)[0], concentration)


@pytest.mark.parametrize("name", KINDS)
def test_a_density_of_a_list_is_refused(name):
    q = KINDS[name](*parameters(4))
    with pytest.raises(ValueError, match="log_prob needs a tensor, got list"):
        q.log_prob([1.0, 0.0, 0.0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kappa", [0.0, 1e-30, 1.0, 1e8])
@pytest.mark.parametrize("make", [VonMisesFisher, PowerSpherical, SphericalCauchy])
def test_no_gradient_is_nan_opposite_to_the_location(make, kappa, dtype):
    mu, x = (sign * torch.eye(3, dtype=dtype)[0] for sign in (1, -1))
    parts = (mu.requires_grad_(), torch.tensor(kappa, dtype=dtype), x.requires_grad_())
    log_density = make(*parts[:2], validate_args=False).log_prob(x)
    assert not log_density.isnan()
    # 1 + mu.x is 0: a Power Spherical law has no density there, but for the uniform one
    assert log_density.isfinite() == (make is not PowerSpherical or kappa == 0)
    for slope in torch.autograd.grad(log_density, (mu, x)):
        assert slope.isfinite().all()
