"""Time and accuracy of the distributions against public peers, printed as one table of ratios.

    OMP_NUM_THREADS=1 python -m benchmarks.distributions

Peers are the packages power-spherical, scipy and mpmath; rows of those not installed are left out,
and so are those of a GPU where there is none. Ours and the peer's calls alternate, and medians are
compared: a ratio below 1 is in our favour, in time as in error.
"""

import functools
import importlib.metadata
import importlib.util
import itertools
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch.distributions import kl_divergence

from svae.distributions import HypersphericalUniform, PowerSpherical, VonMisesFisher
from svae.special import bessel_i_ratio, log_bessel_i

DIMENSIONS, CONCENTRATIONS = (3, 6, 11, 21, 41), (1.0, 10.0, 100.0, 1000.0)


class Row(NamedTuple):
    """One line of the table; `ours` and `theirs` in the unit that `what` names."""

    what: str
    ours: float
    theirs: float | None = None


def installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def medians(calls: list[Callable], repetitions: int, clock: Callable = time.process_time):
    """Return the median time of each call in microseconds; the calls take turns.

    The default is the processor's time, which other programs on the machine do not lengthen.
    """
    times = [[] for _ in calls]
    for repetition in range(repetitions + 3):
        for call, kept in zip(calls, times, strict=True):
            start = clock()
            call()
            if repetition >= 3:
                kept.append(1e6 * (clock() - start))
    return [statistics.median(kept) for kept in times]


def device_clock() -> float:
    torch.cuda.synchronize()
    return time.perf_counter()


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

    for requires_grad, m, kappa in itertools.product((False, True), DIMENSIONS, CONCENTRATIONS):
        arguments = parameters(m, kappa, 10_000, requires_grad=requires_grad)
        calls = [
            lambda family=family, arguments=arguments: family(*arguments).rsample()
            for family in (VonMisesFisher, peer.PowerSpherical)
        ]
        gradient = ", parameters with gradient" if requires_grad else ""
        yield Row(f"us, 10,000 samples, m={m}, kappa={kappa:g}{gradient}", *medians(calls, 25))
    for kappa in CONCENTRATIONS:
        arguments = parameters(11, kappa, 64, requires_grad=True)
        weights = torch.randn(64, 11)
        calls = [
            lambda a=a, arguments=arguments, weights=weights: step(*a, *arguments, weights)
            for a in (
                (VonMisesFisher, HypersphericalUniform(11)),
                (peer.PowerSpherical, peer.HypersphericalUniform(11)),
            )
        ]
        yield Row(
            f"us, rsample + KL + backward, batch 64, m=11, kappa={kappa:g}", *medians(calls, 300)
        )
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
    yield Row("largest ||x| - 1|, float32, mu near e1, vMF to theirs", off[0], off[2])
    yield Row("largest ||x| - 1|, float32, mu near e1, Power Spherical", off[1], off[2])


def against_scipy() -> Iterator[Row]:
    """Many draws from one von Mises-Fisher distribution."""
    from scipy.stats import vonmises_fisher

    for dtype, m in itertools.product((torch.float32, torch.float64), (6, 21, 101)):
        loc = torch.nn.functional.normalize(torch.randn(m, dtype=dtype), dim=-1)
        q = VonMisesFisher(loc, torch.tensor(10.0, dtype=dtype))
        peer = vonmises_fisher(loc.double().numpy() / np.linalg.norm(loc.double().numpy()), 10.0)
        calls = [
            lambda q=q: q.sample((100_000,)),
            lambda peer=peer: peer.rvs(100_000),
        ]
        name = str(dtype).removeprefix("torch.")
        yield Row(f"us, 100,000 draws, m={m}, kappa=10, ours {name}", *medians(calls, 7))


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
    theirs = worst[1] if installed("scipy") else (None, None)
    yield Row("error of log I, scaled, against mpmath; theirs scipy", worst[0, 0], theirs[0])
    yield Row(
        "error of I_{v+1} / I_v, relative, against mpmath; theirs scipy", worst[0, 1], theirs[1]
    )
    q = VonMisesFisher(torch.eye(41, dtype=torch.float64)[0], torch.tensor(1e4).double())
    error = kl_divergence(q, HypersphericalUniform(41)).item() / 110.815877803583 - 1
    yield Row("error of KL, relative, m=41, kappa=10,000, against mpmath", abs(error))


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
    calls = [run, graph.replay, lambda: compiled(loc, concentration).backward()]
    eager, replayed, fused = medians(calls, 100, device_clock)
    yield Row("us, step on CUDA without a synchronisation, batch 64, m=11", eager)
    yield Row("us, the same step replayed from a CUDA graph; theirs eager", replayed, eager)
    yield Row("us, the same step under torch.compile(fullgraph=True); theirs eager", fused, eager)


def versions() -> str:
    names = ("torch", "power-spherical", "scipy", "mpmath")
    found = [name for name in names if installed(name.replace("-", "_"))]
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in found)


def main() -> None:
    torch.manual_seed(0)
    device = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    print(
        f"{platform.processor() or platform.machine()}{device}, {torch.get_num_threads()} threads"
    )
    print(f"python {platform.python_version()}, {versions()}\n")
    print(f"{'what':80} {'ours':>10} {'theirs':>10} {'ratio':>7}")
    sections = {
        "power_spherical": against_power_spherical,
        "scipy": against_scipy,
        "mpmath": against_mpmath,
    }
    rows = [rows for package, rows in sections.items() if installed(package)]
    for row in itertools.chain(*(section() for section in rows), on_cuda() if device else ()):
        theirs = (
            f"{row.theirs:10.4g} {row.ours / row.theirs:7.2g}" if row.theirs is not None else ""
        )
        print(f"{row.what:80} {row.ours:10.4g} {theirs}", flush=True)


if __name__ == "__main__":
    main()
