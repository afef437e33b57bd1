"""Jobs of a sweep, as they lie in its folder, and what a command comes to."""

import shlex

from hydra._internal.utils import get_args_parser

from svae.cli import plan
from svae.configuration import compose
from svae.recording.folder import FAILED, RunFolder

OVERRIDES = ["latent_dim=3", "trainer.max_epochs=2", "trainer.warmup_epochs=1"]


def composed(*lines):
    """Return the configuration that a command line comes to, without Hydra's own keys."""
    args = get_args_parser().parse_args([])
    return compose.task(compose.checked(args, list(lines)))


CONFIG = composed(*OVERRIDES)


def begin(path, state, metrics="epoch,val/elbo,seconds\n1,-5,0.5\n2,-3.25,0.25\n"):
    """Leave what a run of CONFIG leaves that is in `state` after two epochs."""
    with RunFolder.claim(path, CONFIG, OVERRIDES) as folder:
        (path / "metrics.csv").write_text(metrics)
        folder.checkpoints.joinpath("last.pt").write_text("state")
        folder.status(state, 2, "it broke" if state == FAILED else None)


def stamps(path):
    """Return when each file below `path` was last written."""
    return {file: file.stat().st_mtime_ns for file in path.rglob("*")}


def planned(line):
    """Return the plan that a command line comes to."""
    return plan.plan(get_args_parser().parse_intermixed_args(shlex.split(line)))
