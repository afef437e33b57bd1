"""What a sweep is going to do: its jobs composed and checked, each with the folder it works in."""

import importlib
import os
import re
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from hydra._internal.config_loader_impl import get_overrides_dirname
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from svae.cli import grid
from svae.configuration import compose
from svae.configuration.messages import Refused, one_line
from svae.configuration.schema import GROUPS
from svae.recording.folder import holds_run
from svae.run import mismatch

_BY_NUMBER = "${hydra.job.num}"  # the subfolder of a job unless another one is typed


class Multirun:
    """The sweep that `args` ask for, every job of it checked.

    `base` is the configuration without what is swept; `jobs` are the overrides of each job in the
    order of their numbers, None in a search, which chooses as it goes; `keys` are those swept.

    Raises:
        Refused, or one of `HYDRA_ERRORS`: when a key, a value or a combination cannot be.
    """

    def __init__(self, args: Namespace):
        self._args = args
        self._parser = OverridesParser.create(compose.config_loader(args))
        self._composed: dict[tuple[str, ...], DictConfig] = {}
        self._parsed: dict[str, Override] = {}
        typed = self._parser.parse_overrides(args.overrides)
        fixed = [o.input_line for o in typed if not o.is_sweep_override()]
        self.base = compose.composed(args, fixed)
        params = self.base.hydra.sweeper.get("params") or {}
        lines = [f"{key}={value}" for key, value in params.items()]
        swept = [*self._parser.parse_overrides(lines), *typed]
        self.searches = self.base.hydra.runtime.choices["hydra/sweeper"] not in grid.NAMES
        self.keys = frozenset(o.key_or_group for o in swept if o.is_sweep_override())
        combined = grid.combinations(grid.choices(swept, self.searches))
        self._check([[*fixed, *job] for job in combined])
        if self.searches:
            self.jobs = None
            self._check_direction()
        else:
            self.jobs = grid.jobs(swept)
            self._refuse_seeds_twice()

    def paths(self, folder: Path) -> tuple[Path, ...] | None:
        """Return the folder of each job below that of the sweep, None in a search.

        Raises:
            Refused: when they do not differ, lie elsewhere or cannot be known beforehand.
        """
        if self.jobs is None:
            return None
        subdir = OmegaConf.to_container(self.base.hydra.sweep, resolve=False)["subdir"]
        if subdir == _BY_NUMBER:
            return tuple(folder / str(number) for number in range(len(self.jobs)))
        names = [self._subdir(number, job) for number, job in enumerate(self.jobs)]
        paths = tuple(Path(os.path.abspath(folder / name)) for name in names)
        if "${now:" in subdir:  # the same command again would not find what it has begun
            raise Refused(f"hydra.sweep.subdir={subdir}: changes with time, {_EXPECTED}")
        _refuse_shared(subdir, folder, paths)
        return paths

    def runs(self) -> int:
        """Return the number of runs; replicas are a job of several."""
        return sum(self._config(job).trainer.get("replicas", 1) for job in self.jobs)

    def refuse_others(self, paths: tuple[Path, ...]) -> None:
        """Refuse to work in folders of others, or of runs of another configuration."""
        for job, path in zip(self.jobs, paths, strict=True):
            try:
                if not path.exists() or not holds_run(path):
                    continue
                if found := mismatch(path, *compose.portable(self._config(job), list(job))):
                    raise Refused(found)
            except (ValueError, OSError) as error:
                raise Refused(str(error)) from error

    def _check(self, jobs: list[list[str]]) -> None:
        unused = []
        for job in jobs:
            config = self._config(job)
            compose.check(config)
            unused.append(compose.unused(config, job))
        if all(unused):
            raise Refused(compose.why_unused(unused[0][0]))
        lines = {compose.key_of(line): line for lines in unused for line in lines}
        for line in lines.values():
            print(f"{line}: has no effect on some of the models")

    def _refuse_seeds_twice(self) -> None:
        """Refuse replicas that would train a seed that another job trains, counted as one more."""
        if self.runs() == len(self.jobs):
            return
        taken = set()
        for job in self.jobs:
            config = self._config(job)
            seed, count = config.seed, config.trainer.get("replicas", 1)
            others = frozenset(line for line in job if compose.key_of(line) not in _SEEDS)
            seeds = {(others, number) for number in range(seed, seed + count)}
            if twice := taken & seeds:
                number = min(number for _, number in twice)
                raise Refused(
                    f"seed={seed} trainer.replicas={count}: seed {number} is that of another job, "
                    "expected seeds as far apart as there are replicas"
                )
            taken |= seeds

    def _check_direction(self) -> None:
        if "minimize" in str(self.base.hydra.sweeper.get("direction")):
            raise Refused(
                "hydra.sweeper.direction=minimize: the objective is the better the higher it is, "
                "expected maximize, as search=optuna has it"
            )

    def _config(self, job: Sequence[str]) -> DictConfig:
        """Return the configuration of a job; it is good until the next call.

        Composing takes a few tenths of a second, so that jobs that differ in plain values share it.
        """
        overrides = [self._parse(line) for line in job]
        plain = [o for o in overrides if _is_plain(o)]
        others = tuple(sorted(o.input_line for o in overrides if not _is_plain(o)))
        if others not in self._composed:
            self._composed[others] = compose.checked(self._args, job)
        config = self._composed[others]
        for override in plain:
            OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
        return config

    def _parse(self, line: str) -> Override:
        if line not in self._parsed:
            self._parsed[line] = self._parser.parse_override(line)
        return self._parsed[line]

    def _subdir(self, number: int, job: Sequence[str]) -> str:
        """Return the subfolder of a job, as Hydra is going to name it."""
        config = self._config(job)
        names = config.hydra.job.config.override_dirname
        shown = [o for o in map(self._parse, job) if not o.is_hydra_override()]
        with read_write(config.hydra), open_dict(config.hydra):
            config.hydra.job.num = number
            config.hydra.job.override_dirname = get_overrides_dirname(
                shown, names.exclude_keys, names.item_sep, names.kv_sep
            )
        HydraConfig.instance().set_config(config)
        try:
            return str(config.hydra.sweep.subdir)
        except OmegaConfBaseException as error:
            raise Refused(f"hydra.sweep.subdir: {one_line(error)}, {_EXPECTED}") from error


def register_sweeper() -> None:
    """Let Hydra know the sweeper that `conf/hydra/sweeper/grid.yaml` names."""
    folder = str(Path(__file__).with_name("plugins"))
    if folder not in sys.path:
        sys.path.append(folder)
    module = importlib.import_module("hydra_plugins.svae_sweeper")
    Plugins.instance().register(module.GridSweeper)


_SEEDS = ("seed", "trainer.replicas")
_EXPECTED = "expected a folder of its own for each run, such as ${hydra.job.num}"


def _is_plain(override: Override) -> bool:
    """Tell whether an override only sets a value: no choice of a file, nothing added or merged."""
    key = override.key_or_group
    return (
        re.fullmatch(r"[\w.]+=.*", override.input_line, re.DOTALL) is not None
        and key not in GROUPS
        and not key.startswith("hydra.")
        and not isinstance(override.value(), dict)
    )


def _refuse_shared(subdir: str, folder: Path, paths: tuple[Path, ...]) -> None:
    """Refuse subfolders that lie outside the folder of the sweep, or in one another."""
    seen = {}
    for number, path in enumerate(paths):
        if folder not in path.parents:
            raise Refused(f"hydra.sweep.subdir={subdir}: is {path}, outside {folder}, {_EXPECTED}")
        if path in seen:
            runs = f"{seen[path]} and {number}"
            raise Refused(f"hydra.sweep.subdir={subdir}: is {path} for runs {runs}, {_EXPECTED}")
        seen[path] = number
    for path, number in seen.items():
        if outer := next((parent for parent in path.parents if parent in seen), None):
            runs = f"run {number} would lie in that of run {seen[outer]}"
            raise Refused(f"hydra.sweep.subdir={subdir}: the folder of {runs}, {_EXPECTED}")
