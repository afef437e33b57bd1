"""Time and accuracy of the distributions beside the packages power-spherical, scipy and mpmath.

Rows of packages that are not installed are left out.
"""

import functools
import importlib.util
import itertools
from collections.abc import Iterator

import numpy as np
import torch
from torch.distributions import kl_divergence

from benchmarks.timing import Row, device_clock, row, thread_clock, turns
from svae.distributions import HypersphericalUniform, PowerSpherical, VonMisesFisher
from svae.special import bessel_i_ratio, log_bessel_i

PEER = "power-spherical's Power Spherical"


def installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def parameters(m: int, kappa: float, *batch: int, requires_grad: bool = False, device: str = "cpu"):
    loc = torch.nn.functional.normalize(torch.randn(*batch, m, device=device), dim=-1)
    concentration = torch.full(batch, kappa, device=device)
    return loc.requires_grad_(requires_grad), concentration.requires_grad_(requires_grad)


def step(family, prior, loc, concentration, weights, **options):
    """What a training step asks of a posterior: samples, divergence, gradients."""
    q = family(loc, concentration, **options)
    loss = (q.rsample() * weights).sum() + kl_divergence(q, prior).sum()
    loss.backward()
    return loss


def against_power_spherical() -> Iterator[Row]:
    """Sampling as a user calls it, and one training step's worth."""
    import power_spherical as peer

    families = {"ours": VonMisesFisher, PEER: peer.PowerSpherical}
    for requires_grad, m, kappa in itertools.product((False, True), (3, 11, 41), (1.0, 100.0)):
        arguments = parameters(m, kappa, 10_000, requires_grad=requires_grad)
        calls = {
            name: lambda family=family, arguments=arguments: family(*arguments).rsample()
            for name, family in families.items()
        }
        gradient = ", parameters with gradient" * requires_grad
        what = f"10,000 vMF samples, m = {m}, kappa = {kappa:g}{gradient}"
        yield row(what, "ms", turns(calls, 25, thread_clock()), *calls, per=1e3)
    priors = {"ours": HypersphericalUniform(11), PEER: peer.HypersphericalUniform(11)}
    for kappa in (1.0, 100.0):
        arguments = parameters(11, kappa, 64, requires_grad=True)
        weights = torch.randn(64, 11)
        calls = {
            name: lambda f=family, p=priors[name], a=arguments, w=weights: step(f, p, *a, w)
            for name, family in families.items()
        }
        what = f"sample, KL and backward, vMF, batch 64, m = 11, kappa = {kappa:g}"
        yield row(what, "ms", turns(calls, 300, thread_clock()), *calls, per=1e3)
    yield from power_spherical_accuracy(peer)


def power_spherical_accuracy(peer) -> Iterator[Row]:
    """Both Power Sphericals: the distance from the sphere in float32, and the divergence."""
    loc = torch.zeros(100_000, 3)
    loc[:, 0] = 1
    loc = torch.nn.functional.normalize(loc + 1e-4 * torch.randn(100_000, 3), dim=-1)
    concentration = torch.full((100_000,), 10.0)
    off = [
        (family(loc, concentration).sample().double().norm(dim=-1) - 1).abs().max().item()
        for family in (PowerSpherical, peer.PowerSpherical)
    ]
    off.insert(
        0,
        (VonMisesFisher(loc, concentration).sample().double().norm(dim=-1) - 1).abs().max().item(),
    )
    for name, error in (("vMF", off[0]), ("Power Spherical", off[1])):
        what = f"farthest of 100,000 samples from the sphere, float32, mu near e1, {name}"
        yield Row(what, "", error, PEER, off[2])


def against_scipy() -> Iterator[Row]:
    """Many draws from one von Mises-Fisher distribution."""
    from scipy.stats import vonmises_fisher

    for dtype, m in itertools.product((torch.float32, torch.float64), (6, 21, 101)):
        loc = torch.nn.functional.normalize(torch.randn(m, dtype=dtype), dim=-1)
        q = VonMisesFisher(loc, torch.tensor(10.0, dtype=dtype))
        peer = vonmises_fisher(loc.double().numpy() / np.linalg.norm(loc.double().numpy()), 10.0)
        theirs = "scipy's vonmises_fisher.rvs"
        calls = {
            "ours": lambda q=q: q.sample((100_000,)),
            theirs: lambda peer=peer: peer.rvs(100_000),
        }
        name = str(dtype).removeprefix("torch.")
        what = f"100,000 draws of one vMF, {name}, m = {m}, kappa = 10"
        yield row(what, "ms", turns(calls, 7, thread_clock()), *calls, per=1e3)


def against_mpmath() -> Iterator[Row]:
    """Errors of log I and of the ratio; the peer is scipy's ive, infinite where it underflows."""
    import mpmath

    mpmath.mp.dps = 40
    worst = np.zeros((2, 2))
    for order, x in itertools.product((0, 0.5, 2, 9.5, 63, 511.5), (1e-3, 1.0, 30.0, 1e3, 1e4)):
        exact = [mpmath.besseli(order + j, x, maxterms=10**6) for j in (0, 1)]
        log_i, ratio = mpmath.log(exact[0]), exact[1] / exact[0]
        tensor = torch.tensor(x, dtype=torch.float64)
        found = [(log_bessel_i(order, tensor).item(), bessel_i_ratio(order, tensor).item())]
        if installed("scipy"):
            found.append(scipy_bessel(order, x))
        scale = max(1, abs(log_i), order)
        errors = [(abs(log - log_i) / scale, abs(r / ratio - 1)) for log, r in found]
        errors += [(0, 0)] * (2 - len(errors))
        worst = np.maximum(worst, np.array(errors, dtype=float))
    for number, what in enumerate(("log I_v, scaled", "I_{v+1} / I_v, relative")):
        peer = ("scipy's ive", worst[1, number]) if installed("scipy") else ("", None)
        yield Row(f"largest error of {what}, by mpmath", "", worst[0, number], *peer)
    q = VonMisesFisher(torch.eye(41, dtype=torch.float64)[0], torch.tensor(1e4).double())
    error = kl_divergence(q, HypersphericalUniform(41)).item() / 110.815877803583 - 1
    yield Row("error of the KL, relative, m = 41, kappa = 10,000, by mpmath", "", abs(error))


def scipy_bessel(order: float, x: float) -> tuple[float, float]:
    from scipy.special import ive

    with np.errstate(all="ignore"):
        low, high = ive(order, x), ive(order + 1, x)
        return tuple(np.nan_to_num([np.log(low) + x, high / low], nan=np.inf, neginf=np.inf))


def on_cuda() -> Iterator[Row]:
    """A training step that may not wait for the device: eager, captured, compiled."""
    loc, concentration = parameters(11, 10.0, 64, requires_grad=True, device="cuda")
    weights, prior = torch.randn(64, 11, device="cuda"), HypersphericalUniform(11, device="cuda")
    run = functools.partial(
        step, VonMisesFisher, prior, loc, concentration, weights, validate_args=False
    )
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.set_sync_debug_mode("error")
    run()
    torch.cuda.set_sync_debug_mode("default")
    graph = torch.cuda.CUDAGraph()
    loc.grad = concentration.grad = None
    with torch.cuda.graph(graph):
        run()

    def forward(loc, concentration):
        q = VonMisesFisher(loc, concentration, validate_args=False)
        return (q.rsample() * weights).sum() + kl_divergence(q, prior).sum()

    compiled = torch.compile(forward, fullgraph=True)
    eager = "the same, eager"
    calls = {
        "in a CUDA graph": graph.replay,
        "under torch.compile(fullgraph=True)": lambda: compiled(loc, concentration).backward(),
        eager: run,
    }
    times = turns(calls, 100, device_clock)
    for way in list(calls)[:-1]:
        what = f"sample, KL and backward on a GPU, vMF, batch 64, m = 11, {way}"
        yield row(what, "ms", times, way, eager, per=1e3)


def rows() -> Iterator[Row]:
    """Yield the rows of every peer that is installed, and of a GPU if there is one."""
    torch.manual_seed(0)
    sections = {
        "power_spherical": against_power_spherical,
        "scipy": against_scipy,
        "mpmath": against_mpmath,
    }
    for package, section in sections.items():
        if installed(package):
            yield from section()
    if torch.cuda.is_available():
        yield from on_cuda()
