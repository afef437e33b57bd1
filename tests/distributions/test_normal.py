"""The diagonal normal distribution against torch's own."""

import math

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.distributions import Independent, Normal, kl_divergence

from svae.distributions import DiagonalNormal, StandardNormal


def pair(*batch: int) -> tuple[DiagonalNormal, Independent]:
    """Ours and torch's."""
    loc, scale = torch.randn(*batch, 4).double(), torch.rand(*batch, 4).double() + 0.1
    return DiagonalNormal(loc, scale), Independent(Normal(loc, scale), 1)


def test_closed_forms_agree_with_torch():
    torch.manual_seed(0)
    (p, right_p), (q, right_q) = pair(3), pair()
    x = torch.randn(5, 3, 4).double()
    torch.testing.assert_close(p.log_prob(x), right_p.log_prob(x))
    torch.testing.assert_close(p.entropy(), right_p.entropy())
    for name in ("mean", "mode", "stddev", "variance"):
        torch.testing.assert_close(getattr(p, name), getattr(right_p, name))
    torch.testing.assert_close(kl_divergence(p, q), kl_divergence(right_p, right_q.expand((3,))))
    assert kl_divergence(q, p).shape == (3,)
    assert torch.equal(kl_divergence(p, p), torch.zeros(3).double())


def test_the_divergence_from_the_standard_normal():
    torch.manual_seed(0)
    p, right_p = pair(3)
    q, right_q = StandardNormal(4, dtype=torch.float64), Independent(Normal(p.loc * 0, 1.0), 1)
    torch.testing.assert_close(kl_divergence(p, q), kl_divergence(right_p, right_q))
    assert kl_divergence(p, q.expand((5, 3))).shape == (5, 3)

    def value(loc, scale):
        return kl_divergence(DiagonalNormal(loc, scale), q)

    parameters = (p.loc.requires_grad_(), p.scale.requires_grad_())
    assert gradcheck(value, parameters)
    assert gradgradcheck(value, parameters)


def test_samples_and_their_gradients():
    torch.manual_seed(0)
    q, count = pair(2)[0], 100_000
    x = q.sample((count,))
    z = (x.mean(0) - q.mean) / (q.stddev / math.sqrt(count))
    assert z.abs().max() < 5
    z = (x.var(0) / q.variance - 1) / math.sqrt(2 / count)
    assert z.abs().max() < 5

    def value(loc, scale):
        return DiagonalNormal(loc, scale).draw((3,), torch.Generator().manual_seed(1)).value

    assert gradcheck(value, (q.loc.requires_grad_(), q.scale.requires_grad_()))


def test_surface():
    q = DiagonalNormal(torch.zeros(3, 1, 4), torch.ones(2, 4))
    assert (q.batch_shape, q.event_shape) == ((3, 2), (4,))
    state = torch.get_rng_state()
    draw = q.draw((5,), torch.Generator().manual_seed(2))
    assert torch.equal(state, torch.get_rng_state())
    assert (draw.value.shape, draw.log_weight.shape) == ((5, 3, 2, 4), (5, 3, 2))
    assert (draw.log_weight == 0).all()
    assert (draw.proposals == 1).all()
    assert q.log_prob(draw.value).shape == (5, 3, 2)
    assert q.expand((6, 3, 2)).rsample().shape == (6, 3, 2, 4)
    assert not DiagonalNormal(torch.zeros(2).requires_grad_(), torch.ones(2)).sample().requires_grad


@pytest.mark.parametrize(
    ("loc", "scale", "named"),
    [
        (torch.zeros(2), torch.tensor([1.0, -0.5]), r"-0\.5"),
        (torch.zeros(2), torch.tensor([1.0, 0.0]), r"0\."),
        (torch.tensor([torch.nan, 0.0]), torch.ones(2), "nan"),
        (torch.zeros(3), torch.ones(2), r"\(3,\).*\(2,\)"),
        (torch.zeros(3), torch.ones(3).double(), "float32.*float64"),
        (torch.tensor(7.5), torch.tensor(1.0), r"7\.5"),
    ],
)
def test_bad_parameters_are_refused_by_value(loc, scale, named):
    with pytest.raises(ValueError, match=named):
        DiagonalNormal(loc, scale, validate_args=True)


def test_bad_values_and_another_space_are_refused():
    q = DiagonalNormal(torch.zeros(2), torch.ones(2), validate_args=True)
    with pytest.raises(ValueError, match="nan"):
        q.log_prob(torch.tensor([torch.nan, 0.0]))
    with pytest.raises(ValueError, match=r"R\^2 and R\^3"):
        kl_divergence(q, DiagonalNormal(torch.zeros(3), torch.ones(3)))
