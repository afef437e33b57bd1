"""The same seed gives the same bits: every model, sampler and estimator, images and graphs."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.conftest import QUICK, ROOT

pytestmark = pytest.mark.slow

VECTORS = ("dataset=array", *QUICK, "threads=1", "plots=false", "logger.mode=disabled")
GRAPH = (
    *("dataset=sphere_graph", "dataset.nodes=80", "dataset.edges=300", "trainer.max_epochs=2"),
    *("latent_dim=3", "threads=1", "device=cpu", "plots=false", "logger.mode=disabled"),
)
MODELS = ("model=normal", "model=normal model.isotropic=true", "model=power_spherical")
REJECTION = ("implicit", "pathwise", "corrected", "score")
INVERSION = ("implicit", "pathwise", "score")
OTHERS = (
    (VECTORS, "precision=bf16"),
    (VECTORS, "trainer.kl_weight=0.5 trainer.samples=3"),
    (VECTORS, "trainer.bound=iwae trainer.samples=3"),
    (VECTORS, "network.unit_variance=true"),
    (VECTORS, "network=conv"),
    (VECTORS, "network=conv dataset.likelihood=discretised_logistic trainer.optimizer=muon"),
    (GRAPH, "network.dropout=0.5"),
    (GRAPH, "trainer.negatives=sampled"),
    (("dataset=directions", "dataset.observations=300", *VECTORS[1:]), ""),
    (("dataset=circle", "dataset.observations=300", *VECTORS[1:]), "model=normal latent_dim=2"),
)


def _lines() -> list[str]:
    """Return everything that is drawn at random in some way of its own, as it is typed."""
    found = [(data, model) for data in (VECTORS, GRAPH) for model in MODELS] + [*OTHERS]
    for data in (VECTORS, GRAPH):
        for sampler, gradients in (("rejection", REJECTION), ("inversion", INVERSION)):
            extra = "" if sampler == "rejection" else "sampler=inversion latent_dim=2 "
            for gradient in gradients:
                chosen = f"{extra}sampler.gradient={gradient}"
                found.append((data, chosen))
                if gradient in ("corrected", "score"):
                    leave_one_out = "sampler.baseline=leave_one_out trainer.samples=2"
                    found.append((data, f"{chosen} {leave_one_out}"))
                    if data is VECTORS:
                        found.append((data, f"{chosen} sampler.baseline=mean"))
    return [" ".join((*data, chosen)).strip() for data, chosen in found]


@pytest.fixture(scope="module")
def digests(tiny) -> list[dict[str, str]]:
    """What two processes have computed, whose sets have another order each."""
    command = [sys.executable, "-m", "tests.test_reproducibility", str(tiny)]
    processes = [
        subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, env={**os.environ, "PYTHONHASHSEED": seed}
        )
        for seed in ("1", "2")
    ]
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    return [json.loads(output.splitlines()[-1]) for output in outputs]


@pytest.mark.parametrize("line", _lines())
def test_the_same_seed_gives_the_same_bits(digests, line):
    first, second = digests
    assert first[line] == second[line]


def test_different_options_give_different_bits(digests):
    counts = len(set(digests[0].values())), len(digests[0])
    # of inversion, `pathwise` is the exact gradient that `implicit` is
    assert counts[0] == counts[1] - 2


def _digest(line: str, tiny: str) -> str:
    """Return a hash of all that a run computes but its times."""
    import torch
    from hydra._internal.utils import get_args_parser

    from svae import experiment
    from svae.configuration import compose
    from svae.recording.folder import RunFolder
    from svae.run import Run

    words = [*line.split(), *([f"dataset.file={tiny}"] if "dataset=array" in line else [])]
    args = get_args_parser().parse_intermixed_args(words)
    config = compose.checked(args, words)
    config = compose.portable(config, words)[0]
    with (
        tempfile.TemporaryDirectory() as folder,
        RunFolder.claim(Path(folder) / "r", config, words) as claimed,
    ):
        experiment.run(experiment.prepare(config), claimed, None, False)
        results = json.loads((claimed.path / "results.json").read_text())
        last = torch.load(claimed.path / "checkpoints" / "last.pt", weights_only=True)
        history = Run(claimed.path).history
    for row in (results, *history):
        del row["seconds"]
    found = hashlib.sha256(json.dumps([results, history]).encode())
    for tensors in (last["model"], *last["optimizer"]["state"].values()):
        for value in tensors.values():
            found.update(value.numpy().tobytes())
    return found.hexdigest()


if __name__ == "__main__":
    print(json.dumps({line: _digest(line, sys.argv[1]) for line in _lines()}))
