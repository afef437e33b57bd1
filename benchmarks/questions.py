"""The tables of docs/results-questions.md: why the sphere falls behind in high dimensions."""

from benchmarks.cells import Published, normal_runs, spread, table, vmf_runs
from benchmarks.rows import START, Row


def surface(rows: list[Row], paper: Published) -> str:
    """The gradient of the sampler crossed with the initial concentration, beside the Gaussian."""
    lines = []
    for d in ("20", "40"):
        cases = [("normal", "", normal_runs(rows, d))]
        for start, word in ((START, "1.69"), ("m", f"m = {int(d) + 1}")):
            for gradient in ("implicit", "corrected", "pathwise"):
                runs = vmf_runs(rows, d, gradient=gradient, initial_concentration=start)
                cases.append((f"vmf, {gradient}", word, runs))
        lines += [[d, *_study(*case)] for case in cases if case[-1]]
    return table(f"d | model | initial concentration | {_STUDIED}", lines)


def isotropic(rows: list[Row], paper: Published) -> str:
    """The Gaussian with one variance between that with d of them and the sphere's."""
    lines = []
    for d in ("5", "10", "20"):
        cases = [
            ("normal", "d variances", normal_runs(rows, d)),
            ("normal", "one variance", normal_runs(rows, d, isotropic="True")),
            ("vmf", "one concentration", vmf_runs(rows, d)),
        ]
        lines += [[d, *_study(*case)] for case in cases if case[-1]]
    return table(f"d | model | spread | {_STUDIED}", lines)


_STUDIED = "log-likelihood | ELBO | KL | mean concentration | 1000 labels | collapsed | runs"


def _study(model: str, variant: str, runs: list[Row]) -> list[str]:
    collapsed = sum(row["collapse"] in ("posterior", "dimensions") for row in runs)
    return [
        model,
        variant,
        *(spread(runs, f"test/{name}") for name in ("log_likelihood", "elbo", "kl")),
        spread(runs, "test/concentration_mean", 0),
        spread(runs, "test/knn_accuracy_1000", 1, 100),
        str(collapsed),
        str(len(runs)),
    ]
