"""Products of distributions against their factors one by one."""

import math

import pytest
import torch
from torch.distributions import kl_divergence

from svae.distributions import (
    DiagonalNormal,
    HypersphericalUniform,
    Product,
    StandardNormal,
    VonMisesFisher,
)
from svae.noise import Rows

B = 4


def spheres(k: int, m: int, **options) -> VonMisesFisher:
    source = torch.Generator().manual_seed(m)
    loc = torch.randn(k, B, m, dtype=torch.float64, generator=source)
    kappa = torch.rand(k, B, dtype=torch.float64, generator=source) * 20
    return VonMisesFisher(loc / loc.norm(dim=-1, keepdim=True), kappa, **options)


def plane() -> DiagonalNormal:
    loc = torch.linspace(-1, 1, B * 3).double().reshape(1, B, 3)
    return DiagonalNormal(loc, torch.full_like(loc, 0.5))


# S^2 x R^3 x S^1 x S^2
GROUPS, COUNTS, ORDER = (spheres(2, 3), spheres(1, 2), plane()), (2, 1, 1), (0, 3, 2, 1)


def product(**options) -> Product:
    return Product(GROUPS, COUNTS, ORDER, **options)


def prior() -> Product:
    uniform = [HypersphericalUniform(m, dtype=torch.float64) for m in (3, 2)]
    return Product((*uniform, StandardNormal(3, dtype=torch.float64)), COUNTS, ORDER)


def factors(value: torch.Tensor) -> list[torch.Tensor]:
    """Return the coordinates in each of GROUPS' factors, in the order of the groups."""
    parts = value.split((3, 3, 2, 3), -1)
    return [parts[0], parts[3], parts[2], parts[1]]


def alone() -> list:
    """Return the factors as distributions of batch shape (B,)."""
    two, one, flat = GROUPS
    pairs = [VonMisesFisher(two.loc[k], two.concentration[k]) for k in range(2)]
    one = VonMisesFisher(one.loc[0], one.concentration[0])
    return [*pairs, one, DiagonalNormal(flat.loc[0], flat.scale[0])]


def test_coordinates_follow_in_the_order_that_is_asked_for():
    q = product()
    assert (q.batch_shape, q.event_shape) == ((B,), (11,))
    for name in ("loc", "mean", "variance"):
        parts = factors(getattr(q, name))
        for part, law in zip(parts, alone(), strict=True):
            torch.testing.assert_close(part, getattr(law, name))


def test_densities_and_divergences_are_sums():
    q, x = product(), product().sample((5,))
    laws, priors = alone(), [HypersphericalUniform(3), HypersphericalUniform(3)]
    priors += [HypersphericalUniform(2), StandardNormal(3, dtype=torch.float64)]
    expected = sum(law.log_prob(part) for law, part in zip(laws, factors(x), strict=True))
    torch.testing.assert_close(q.log_prob(x), expected)
    torch.testing.assert_close(q.entropy(), sum(law.entropy() for law in laws))
    expected = sum(map(kl_divergence, laws, priors))
    torch.testing.assert_close(kl_divergence(q, prior()), expected)
    expected = sum(law.log_prob(part) for law, part in zip(priors, factors(x), strict=True))
    torch.testing.assert_close(prior().log_prob(x), expected)
    torch.testing.assert_close(
        prior().entropy().squeeze(), sum(law.entropy() for law in priors).squeeze()
    )


def test_a_group_may_stand_twice():
    group, uniform = spheres(1, 3), HypersphericalUniform(3, dtype=torch.float64)
    other = VonMisesFisher(group.loc, torch.full_like(group.concentration, 9.0))
    found = kl_divergence(Product([group] * 2, (1, 1)), Product([uniform, other], (1, 1)))
    expected = kl_divergence(group, uniform) + kl_divergence(group, other)
    torch.testing.assert_close(found, expected[0])
    with pytest.raises(ValueError, match=r"6 coordinates, got shape \(4, 5\)"):
        Product([group] * 2, (1, 1)).log_prob(torch.zeros(4, 5))


def test_samples_have_the_moments_of_the_factors():
    torch.manual_seed(0)
    count = 40_000
    for q in (product(), prior()):
        x = q.sample((count,))
        assert x.shape == (count, *q.batch_shape, 11)
        z = (x.mean(0) - q.mean) / (q.variance / count).sqrt()
        assert z.abs().max() < 5
    apart = factors(product().sample((count,)))
    products = (apart[0] - apart[0].mean(0)) * (apart[1] - apart[1].mean(0))
    z = products.mean(0) / (products.std(0) / math.sqrt(count))  # two factors of one group
    assert z.abs().max() < 5


@pytest.mark.parametrize("gradient", ["corrected", "score"])
def test_the_log_weight_is_that_of_all_factors(gradient):
    loc = GROUPS[0].loc.clone().requires_grad_()
    kappa = GROUPS[0].concentration.clone().requires_grad_()
    group = VonMisesFisher(loc, kappa, gradient)
    q = Product((group, plane()), (2, 1))
    draw = q.draw((), torch.Generator().manual_seed(1))
    expected = group.draw((), torch.Generator().manual_seed(1)).log_weight.sum(0)
    assert draw.log_weight.shape == (B,)
    weights = torch.linspace(1, 2, B).double()
    for found, right in zip(
        torch.autograd.grad(draw.log_weight @ weights, (kappa,)),
        torch.autograd.grad(expected @ weights, (kappa,)),
        strict=True,
    ):
        torch.testing.assert_close(found, right)
    with pytest.raises(ValueError, match="needs the value of the objective"):
        q.rsample()


def test_one_factor_is_the_distribution_itself():
    group = spheres(1, 5)
    q, law = Product((group,), (1,)), VonMisesFisher(group.loc[0], group.concentration[0])
    found, right = (p.draw((6,), torch.Generator().manual_seed(2)) for p in (q, law))
    assert all(torch.equal(one, two) for one, two in zip(found, right, strict=True))
    assert torch.equal(q.log_prob(found.value), law.log_prob(right.value))


def test_rows_of_a_stack_draw_as_each_would_alone():
    def law(kappa: torch.Tensor, *shape: int) -> Product:
        loc = torch.eye(3)[0].expand(*shape, 3)
        return Product((VonMisesFisher(loc, kappa.expand(shape)),), (2,))

    stack = law(torch.tensor(4.0), 2, 3, B).draw((5,), Rows(map(_seeded, range(3)))).value
    for seed in range(3):
        one = law(torch.tensor(4.0), 2, B).draw((5,), _seeded(seed)).value
        torch.testing.assert_close(stack[:, seed], one)


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_surface():
    q = product(validate_args=True)
    assert q.expand((7, B)).draw((2,)).value.shape == (2, 7, B, 11)
    assert q.rsample((2,)).shape == (2, B, 11)
    assert q.support.check(q.sample((3,))).all()
    off = q.sample()
    off[..., 0] += 0.1
    assert not q.support.check(off).any()


@pytest.mark.parametrize(
    ("groups", "counts", "order", "named"),
    [
        (GROUPS, COUNTS, (0, 1, 2, 2), r"\(0, 1, 2, 2\)"),
        (GROUPS, (2, 1), None, r"3 groups and the counts \(2, 1\)"),
        (GROUPS, (2, 1, -1), None, r"counts \(2, 1, -1\)"),
        ((), (), None, "0 groups"),
        (GROUPS, (3, 1, 1), None, r"begins with 3, got \(2, 4\)"),
        ((spheres(1, 3), plane().expand((1, 5, B))), (1, 1), None, r"\(4,\) and \(5, 4\)"),
    ],
)
def test_factors_that_do_not_fit_are_refused(groups, counts, order, named):
    with pytest.raises(ValueError, match=named):
        Product(groups, counts, order)
    with pytest.raises(ValueError, match="same factors in the same order"):
        kl_divergence(product(), Product(GROUPS, COUNTS))


def test_factors_of_one_law_each_have_what_the_batch_of_the_others_has():
    q, p = product(), prior()
    wide = p.expand((5, B))
    assert (wide.entropy() == p.entropy()).all()
    assert wide.entropy().shape == kl_divergence(wide, p).shape == (5, B)
    torch.testing.assert_close(kl_divergence(wide, p), torch.zeros(5, B, dtype=torch.float64))
    shapes = {getattr(p.expand((B,)), name).shape for name in ("mean", "variance")}
    assert shapes == {(B, 11)}
    mixed = Product((GROUPS[0], StandardNormal(3, dtype=torch.float64)), (2, 1))
    assert mixed.mean.shape == mixed.sample().shape == (B, 9)
    law = GROUPS[0]
    uniform = Product([HypersphericalUniform(3, dtype=torch.float64)], [2])
    expected = kl_divergence(uniform.groups[0].expand((2, B)), law).sum(0)
    torch.testing.assert_close(kl_divergence(uniform, Product([law], [2])), expected)
    assert q.entropy().shape == (B,)


def test_a_divergence_of_groups_of_unlike_batches_is_refused():
    flat = VonMisesFisher(GROUPS[0].loc[:, 0], GROUPS[0].concentration[:, 0])
    with pytest.raises(ValueError, match=r"one batch shape, got \(2,\) and \(2, 4\)"):
        kl_divergence(Product([flat], [2]), Product([GROUPS[0]], [2]))
