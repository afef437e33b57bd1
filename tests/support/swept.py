"""Jobs of a sweep, as they lie in its folder, and what a command comes to."""

import shlex

from hydra._internal.utils import get_args_parser
from omegaconf import OmegaConf

from svae.cli import plan
from svae.recording.folder import FAILED, RunFolder

CONFIG = OmegaConf.create(
    {
        "model": {"_target_": "svae.models.latent.VonMisesFisherFamily"},
        "latent_dim": 3,
        "seed": 0,
        "device": "auto",
        "trainer": {"max_epochs": 2},
    }
)


def begin(path, state, metrics="epoch,val/elbo,seconds\n1,-5,0.5\n2,-3.25,0.25\n"):
    """Leave what a run of CONFIG leaves that is in `state` after two epochs."""
    with RunFolder.claim(path, CONFIG, ["latent_dim=3"]) as folder:
        (path / "metrics.csv").write_text(metrics)
        folder.checkpoints.joinpath("last.pt").write_text("state")
        folder.status(state, 2, "it broke" if state == FAILED else None)


def stamps(path):
    """Return when each file below `path` was last written."""
    return {file: file.stat().st_mtime_ns for file in path.rglob("*")}


def planned(line):
    """Return the plan that a command line comes to."""
    return plan.plan(get_args_parser().parse_intermixed_args(shlex.split(line)))
