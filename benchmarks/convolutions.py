"""The table of docs/images.md: convolutions beside the MLP, in about as many minutes."""

from benchmarks.cells import Published, paired, spread, table
from benchmarks.rows import Row, choose

_LIKELIHOOD = "test/log_likelihood"


def conv(rows: list[Row], paper: Published) -> str:
    """Log-likelihoods of `experiment=conv` and `experiment=fast`, and differences by seed."""
    lines = []
    for d in sorted({row["latent_dim"] for row in choose(rows, protocol="conv")}, key=int):
        for model in ("normal", "vmf"):
            both = [
                choose(rows, protocol=name, model=model, latent_dim=d, link="", bound="elbo")
                for name in ("fast", "conv")
            ]
            if not both[1]:
                continue
            cells = [d, model, *(spread(runs, _LIKELIHOOD) for runs in both)]
            cells.append(paired(both[1], both[0], _LIKELIHOOD))
            cells += [spread(runs, "test/elbo") for runs in both]
            cells += [spread(runs, "seconds", 1, 1 / 60) for runs in both]
            lines.append([*cells, ", ".join(str(len(runs)) for runs in both)])
    numbers = " | ".join(f"{name}, MLP | conv" for name in ("ELBO", "minutes"))
    head = f"d | model | log-likelihood, MLP | conv | conv less MLP, same seeds | {numbers}"
    return table(f"{head} | runs", lines)
