"""Bessel functions against mpmath: values, limits, derivatives, dtypes and what is refused."""

import math

import mpmath
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.utils._python_dispatch import TorchDispatchMode

from svae.special import BesselMoments, bessel_i_ratio, bessel_moments, log_bessel_i

XS = (1e-6, 1e-3, 0.1, 0.5, 1, 2, 3, 5, 8, 13, 20, 30, 50, 100, 300, 1e3, 1e4, 1e5, 1e6, 1e8)
ORDERS = [half / 2 for half in range(127)]

# m, kappa, KL, log C, A, A' of the von Mises-Fisher distribution, from mpmath with 40 digits
TABLE = (
    (2, 1, 0.2104756073893559, -2.073791424916524, 0.4463899658965345, 0.3543460324503563),
    (2, 100, 2.719004610574293, -98.61760975635193, 0.9949873730051688, 5.025383022147036e-5),
    (3, 0.01, 1.666650000176365e-5, -2.531040913580402, 3.333311111322749e-3, 0.3333266667724853),
    (3, 10000, 8.903487552536128, -9992.627536694433, 0.9999, 1.0e-8),
    (6, 1, 0.08082206186646554, -3.516673713292269, 0.1633061176105341, 0.1568005238983037),
    (6, 1000, 13.61263800288466, -987.3234285307168, 0.9975018768760533, 2.496244370788325e-6),
    (11, 10, 2.438344530464164, -6.642229822463144, 0.6049226767814378, 0.0291458783341423),
    (21, 1, 0.02373589270667295, 1.204029298768636, 0.04752083136315361, 0.04732514332348246),
    (21, 100, 17.35056218470812, -71.87514290603266, 0.904535193281659, 9.090454585800054e-4),
    (41, 10000, 110.815877803583, -9852.531732944587, 0.9980019001882228, 1.996199437109562e-7),
    (129, 100, 22.78773059908094, 96.74449804235964, 0.5460181257470317, 2.96100539949806e-3),
    (513, 10000, 767.7105469275241, -8109.385408138664, 0.9747263793724958, 2.49473151365512e-6),
)


def oracle(order, x, log_i, ratio) -> tuple:
    """The fields of BesselMoments and log I in mpmath numbers."""
    log_m = log_i + mpmath.loggamma(order + 1) - order * mpmath.log(x / 2)
    variance = 1 - ratio**2 - (2 * order + 1) * ratio / x
    return log_m - x, x * ratio - log_m, ratio, 1 - ratio, variance, log_i


def oracle_at(order: float, x: float) -> tuple:
    """The oracle at one point; digits enough for A' at x = 1e8, terms enough for (5000, 1e5)."""
    with mpmath.workdps(60):
        order, x = mpmath.mpf(order), mpmath.mpf(x)
        bessel = [mpmath.besseli(order + up, x, maxterms=10**7) for up in (0, 1)]
        return oracle(order, x, mpmath.log(bessel[0]), bessel[1] / bessel[0])


def oracle_below(top: float, x: float) -> dict[float, tuple]:
    """The oracle at the orders top, top - 1, ..., >= 0, by r_v = 1 / (2 (v + 1) / x + r_{v+1})."""
    with mpmath.workdps(80):
        order, x = mpmath.mpf(top), mpmath.mpf(x)
        bessel = [mpmath.besseli(order + up, x, maxterms=10**7) for up in (0, 1)]
        log_i, ratio, values = mpmath.log(bessel[0]), bessel[1] / bessel[0], {}
        while order >= 0:
            values[float(order)] = oracle(order, x, log_i, ratio)
            ratio = 1 / (2 * order / x + ratio)
            log_i, order = log_i - mpmath.log(ratio), order - 1
        return values


def errors(order: float, x: float, moments: BesselMoments, log_i: torch.Tensor, exact) -> dict:
    """Relative errors; that of a logarithm relative to max(1, |log I|, order)."""
    values = {**moments._asdict(), "log_bessel_i": log_i}
    found = {}
    for (name, value), right in zip(values.items(), exact, strict=True):
        size = abs(right)
        if name in ("log_bessel_i", "log_normaliser"):
            size = max(1, abs(exact[-1]), order)
        found[name] = float(abs(mpmath.mpf(value.item()) - right) / size)
    return found


def assert_close(found: dict, at) -> None:
    limits = {"relative_entropy": 2e-11, "variance": 1e-11}
    for name, error in found.items():
        assert error < limits.get(name, 1e-12), (name, error, at)


@pytest.mark.parametrize("x", XS)
def test_agrees_with_mpmath_at_every_order(x):
    exact = oracle_below(63.0, x) | oracle_below(62.5, x)
    argument = torch.tensor(x, dtype=torch.float64)
    orders = torch.tensor(ORDERS, dtype=torch.float64)
    batched, batched_log = bessel_moments(orders, argument), log_bessel_i(orders, argument)
    for i, order in enumerate(ORDERS):
        single = bessel_moments(order, argument), log_bessel_i(order, argument)
        both = (single, (BesselMoments(*(field[i] for field in batched)), batched_log[i]))
        for moments, log_i in both:
            assert_close(errors(order, x, moments, log_i, exact[order]), (order, x))


HIGH = [(order, x) for order in (1e-9, 0.1, 511.5, 5000.0) for x in (*XS[::3], 1e4, 1e8)]
HIGH += [(1.5, 0.064), (1.5, 0.078), (4.5, 0.17)]  # next to the end of a Taylor series
SLOW = pytest.mark.slow  # mpmath sums 10^5 terms there


@pytest.mark.parametrize(("order", "x"), [*HIGH, pytest.param(5000.0, 1e5, marks=SLOW)])
def test_agrees_with_mpmath_at_odd_and_at_high_orders(order, x):
    argument, exact = torch.tensor(x, dtype=torch.float64), oracle_at(order, x)
    for form in (order, torch.tensor(order, dtype=torch.float64)):
        values = bessel_moments(form, argument), log_bessel_i(form, argument)
        assert_close(errors(order, x, *values, exact), (order, x))


@pytest.mark.parametrize(("m", "kappa", "divergence", "log_c", "ratio", "variance"), TABLE)
def test_agrees_with_the_table(m, kappa, divergence, log_c, ratio, variance):
    kappa, order = torch.tensor(float(kappa), dtype=torch.float64), m / 2 - 1
    moments = bessel_moments(order, kappa)
    log_c_here = order * kappa.log() - m / 2 * math.log(2 * math.pi) - log_bessel_i(order, kappa)
    for value, right in (
        (moments.relative_entropy, divergence),
        (log_c_here, log_c),
        (moments.ratio, ratio),
        (moments.variance, variance),
    ):
        assert float(value) == pytest.approx(right, rel=1e-10)


@pytest.mark.parametrize("order", [0, 0.5, 4.5, 63.0, 5000.0])
def test_limits_at_zero(order):
    for form in (order, torch.tensor(float(order), dtype=torch.float64)):
        zero = torch.zeros((), dtype=torch.float64, requires_grad=True)
        moments = bessel_moments(form, zero)
        torch.testing.assert_close(
            torch.stack(moments), torch.tensor([0, 0, 0, 1, 1 / (2 * order + 2)]).double()
        )
        assert moments.ratio == 0
        assert moments.relative_entropy == 0
        slopes = [torch.autograd.grad(field, zero, retain_graph=True)[0] for field in moments]
        right = torch.tensor([-1, 0, 1 / (2 * order + 2), -1 / (2 * order + 2), 0]).double()
        torch.testing.assert_close(torch.stack(slopes), right)
        log_i = log_bessel_i(form, zero)
        if order:
            assert log_i == -torch.inf
        else:
            assert abs(log_i) < 1e-14
            assert torch.autograd.grad(log_i, zero)[0] == 0


def test_the_divergence_keeps_its_digits_where_it_vanishes_and_where_its_terms_are_huge():
    for order in (0, 0.5, 4.5, 19.5):
        n, small = 2 * order + 1, torch.tensor(1e-6, dtype=torch.float64)
        right = small**2 / (2 * (n + 1))
        torch.testing.assert_close(
            bessel_moments(order, small).relative_entropy, right, rtol=1e-11, atol=0
        )
        large = float(oracle_at(order, 1e8)[1])
        found = bessel_moments(order, torch.tensor(1e8, dtype=torch.float64)).relative_entropy
        assert float(found) == pytest.approx(large, rel=1e-13)


@pytest.mark.parametrize("order", [0, 0.5, 4.5, 30.0, torch.tensor([[0.0], [2.5]])])
def test_first_and_second_derivatives(order):
    x = torch.tensor([0.0, 1e-3, 0.7, 3.0, 40.0], dtype=torch.float64, requires_grad=True)
    with_two = ("relative_entropy", "ratio", "complement", "log_normaliser")
    for name in with_two:

        def field(x, name=name):
            return getattr(bessel_moments(order, x), name)

        assert gradcheck(field, (x,))
        assert gradgradcheck(field, (x,))
    assert gradcheck(lambda x: bessel_moments(order, x).variance, (x,))
    inner = x[1:].detach().requires_grad_()
    assert gradcheck(lambda x: log_bessel_i(order, x), (inner,), rtol=1e-4)
    assert gradgradcheck(lambda x: log_bessel_i(order, x), (inner[1:],))


@pytest.mark.parametrize("order", [0, 0.5, 4.5, 511.5])
@pytest.mark.parametrize("x", [0.3, 20.0, 1e4])
def test_second_derivative_of_the_ratio_agrees_with_mpmath(order, x):
    with mpmath.workdps(60):
        *_, ratio, _, variance, _ = oracle_at(order, x)
        right = -2 * ratio * variance - (2 * order + 1) * (
            variance / x - ratio / mpmath.mpf(x) ** 2
        )
    argument = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(bessel_i_ratio(order, argument), argument, create_graph=True)
    (curvature,) = torch.autograd.grad(slope, argument)
    assert float(curvature) == pytest.approx(float(right), rel=1e-8)


@pytest.mark.parametrize(("order", "x"), [(0, 0.3), (0.5, 4.0), (4.5, 20.0), (19.5, 3.0)])
def test_further_derivatives_of_the_ratio_agree_with_mpmath(order, x):
    argument = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    found = bessel_i_ratio(order, argument)
    with mpmath.workdps(60):

        def ratio(t):
            return mpmath.besseli(order + 1, t) / mpmath.besseli(order, t)

        for n in range(1, 6):
            (found,) = torch.autograd.grad(found, argument, create_graph=True)
            expected = float(mpmath.diff(ratio, mpmath.mpf(x), n))
            scale = (1 + x + order) ** -n  # what a derivative that crosses 0 is compared with
            assert found.item() == pytest.approx(expected, rel=1e-7, abs=1e-9 * scale)


@pytest.mark.parametrize("order", [0, 4.5, 511.5])
def test_float32_is_float64_rounded(order):
    x = torch.logspace(-6, 8, 200, dtype=torch.float32)
    narrow = (*bessel_moments(order, x), log_bessel_i(order, x), bessel_i_ratio(order, x))
    wide = (
        *bessel_moments(order, x.double()),
        log_bessel_i(order, x.double()),
        bessel_i_ratio(order, x.double()),
    )
    for single, double in zip(narrow, wide, strict=True):
        assert single.dtype == torch.float32
        assert torch.equal(single, double.float())


def test_shapes_broadcast_and_gradients_come_back_in_shape():
    orders, x = torch.tensor([[0.0], [1.5]]), torch.rand(3, requires_grad=True)
    for result in (*bessel_moments(orders, x), log_bessel_i(orders, x), bessel_i_ratio(orders, x)):
        assert result.shape == (2, 3)
        (grad,) = torch.autograd.grad(result.sum(), x, retain_graph=True)
        assert grad.shape == (3,)
        assert grad.dtype == torch.float32
    assert bessel_i_ratio(torch.tensor([0, 1]), torch.tensor(2.0)).shape == (2,)
    assert bessel_i_ratio(1, torch.empty(0)).shape == (0,)


@pytest.mark.parametrize("order", [-0.5, float("nan"), float("inf")])
def test_an_order_out_of_range_is_refused_by_value(order):
    for function in (bessel_moments, log_bessel_i, bessel_i_ratio):
        with pytest.raises(ValueError, match=str(order)):
            function(order, torch.ones(2))


def test_a_gradient_in_the_order_is_refused():
    order = torch.tensor(1.25, requires_grad=True)
    with pytest.raises(ValueError, match=r"1\.25"):
        bessel_i_ratio(order, torch.ones(2))


class NoLookAtTheData(TorchDispatchMode):
    """Fails on any operation whose result depends on values on the host or in a shape."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.name()
        assert not any(word in name for word in ("_local_scalar_dense", "nonzero", "is_all_true"))
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("order", [0, 4.5, torch.tensor(4.5)])
def test_nothing_is_copied_to_the_host(order):
    x = torch.rand(5, requires_grad=True)
    with NoLookAtTheData():
        moments = bessel_moments(order, x)
        (moments.relative_entropy + moments.ratio + log_bessel_i(order, x)).sum().backward()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("order", [0, 4.5, torch.tensor(4.5)])
def test_compiles_into_one_graph(order):
    def objective(x):
        moments = bessel_moments(order, x)
        return moments.relative_entropy + moments.ratio + log_bessel_i(order, x)

    x = torch.rand(5, dtype=torch.float64, requires_grad=True)
    compiled = torch.compile(objective, fullgraph=True, backend="aot_eager")
    right, found = objective(x), compiled(x)
    torch.testing.assert_close(found, right)
    grads = [torch.autograd.grad(value.sum(), x)[0] for value in (found, right)]
    torch.testing.assert_close(*grads)


def test_whole_numbers_are_not_truncated():
    x = torch.tensor([1, 50])
    assert torch.equal(bessel_i_ratio(1, x), bessel_i_ratio(1, x.float()))
    assert torch.equal(log_bessel_i(1, x), log_bessel_i(1, x.float()))
    assert bessel_moments(1, x).ratio.dtype == torch.float32


@pytest.mark.parametrize("order", [0, 0.5, 4.5, 511.5])
def test_the_ratio_is_1_as_far_as_numbers_go(order):
    x = torch.tensor([1e100, 1e153, 1e154, 1e155, 1e200, 1e307], dtype=torch.float64)
    moments = bessel_moments(order, x)
    torch.testing.assert_close(moments.ratio, torch.ones_like(x), rtol=1e-15, atol=0)
    torch.testing.assert_close(moments.complement * x, torch.full_like(x, order + 0.5))
    expected = (
        (order + 0.5) * (torch.log(x / 2)) + 0.5 * math.log(4 * math.pi) - math.lgamma(order + 1)
    )
    expected = expected - (order + 0.5)
    torch.testing.assert_close(moments.relative_entropy, expected, rtol=1e-12, atol=0)
