"""The mean of what public von Mises-Fisher samplers draw, by quadrature, beside the exact one.

    python -m benchmarks.public_sampler

Ulrich-Wood's rejection needs b = (m-1) / (2 kappa + c) with c = sqrt(4 kappa^2 + (m-1)^2).
s-vae-pytorch and its copies put the first term of a Taylor series, b = (m-1) / (4 kappa), in its
place from kappa = 11 up, and keep the rest. The last column is the closed form, I_{m/2}(kappa) /
I_{m/2-1}(kappa): with the exact b the quadrature has to give the same.
"""

import numpy as np
import torch

from svae.special import bessel_i_ratio

SETTINGS = ((3, 11), (11, 11), (21, 11), (41, 11), (129, 11), (41, 100))


def mean(m: int, kappa: float, b: float) -> float:
    """Return E[mu.x] of the accepted proposals, for any b.

    A proposal eps ~ Beta((m-1)/2, (m-1)/2) gives w = (1 - (1+b) eps) / D and t = 2ab / D with
    D = 1 - (1-b) eps; it is accepted with probability min(1, exp(n log t - t + d)), n = m - 1
    (Davidson et al. 2018, Algorithm 1).
    """
    n = m - 1
    a = (n + 2 * kappa + np.hypot(2 * kappa, n)) / 4
    d = 4 * a * b / (1 + b) - n * np.log(n)
    eps = (np.arange(1_000_000) + 0.5) / 1_000_000
    denominator = 1 - (1 - b) * eps
    w, t = (1 - (1 + b) * eps) / denominator, 2 * a * b / denominator
    log_density = (n / 2 - 1) * np.log(eps * (1 - eps)) + np.minimum(0, n * np.log(t) - t + d)
    density = np.exp(log_density - log_density.max())
    return float((density * w).sum() / density.sum())


def main() -> None:
    print(f"{'m':>4} {'kappa':>6} {'public':>8} {'exact b':>8} {'closed form':>12}")
    for m, kappa in SETTINGS:
        n = m - 1
        found = [
            mean(m, kappa, b) for b in (n / (4 * kappa), n / (2 * kappa + np.hypot(2 * kappa, n)))
        ]
        exact = bessel_i_ratio(m / 2 - 1, torch.tensor(float(kappa), dtype=torch.float64)).item()
        print(f"{m:4} {kappa:6} {found[0]:8.3f} {found[1]:8.3f} {exact:12.3f}")


if __name__ == "__main__":
    main()
