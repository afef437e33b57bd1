"""A sweep to report on."""

import pytest

from svae.recording.folder import FAILED, FINISHED
from svae.report import summary
from tests.support.reported import write_run


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Two models at two dimensions with two seeds, one of them failed."""
    folder = tmp_path_factory.mktemp("sweep")
    number = 0
    for dimension in (10, 2):
        for model, value in (("normal", -90.0), ("vmf", -88.0)):
            for seed in (0, 1):
                words = (f"model={model}", f"latent_dim={dimension}", f"seed={seed}")
                fails = number == 3
                write_run(
                    folder / str(number),
                    *words,
                    "experiment=table1",
                    value=value - 3 * seed,
                    state=FAILED if fails else FINISHED,
                    error="val/elbo is nan in epoch <3>" if fails else None,
                )
                number += 1
    return folder


@pytest.fixture(scope="module")
def made(sweep):
    summary.make([sweep])
    return sweep
