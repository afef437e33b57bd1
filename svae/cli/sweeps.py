"""What a sweep is going to do: its jobs composed and checked, each with the folder it works in."""

import itertools
import math
import os
import re
import shlex
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from svae.cli import grid
from svae.configuration import compose
from svae.configuration.checks import key_of, without_effect
from svae.configuration.messages import Refused, one_line, refusing
from svae.configuration.words import GROUPS
from svae.recording import environment
from svae.recording.claim import mismatch
from svae.recording.folder import FINISHED, holds_run
from svae.run import folders, readable

_BY_NUMBER = "${hydra.job.num}"  # the subfolder of a job unless another one is typed
_CHECKED_JOBS = 256  # beyond, every value is checked once instead of every combination
_SEEDS = ("seed", "trainer.replicas")
_EXPECTED = "expected a folder of its own for each run, such as ${hydra.job.num}"


@dataclass(frozen=True)
class Sweep:
    """A sweep, the arguments for Hydra, and what is known of its runs beforehand.

    `again` is the command that goes on with it, `swept` are the keys in which its runs differ. In a
    search, which chooses its runs as it goes, there are no `paths`.
    """

    arguments: list[str]
    folder: Path
    again: str = ""
    swept: frozenset[str] = frozenset()
    paths: frozenset[Path] | None = None
    runs: int | None = None
    searches: bool = False


def plan(args: Namespace, flags: tuple[str, ...]) -> Sweep:
    """Compose and check every job of the sweep that `args` ask for, and take a folder for it.

    `flags` come before the overrides in a command that goes on with it.

    Raises:
        Refused, or one of `HYDRA_ERRORS`: when a key, a value or a combination cannot be.
    """
    args.overrides = [grid.quoted(override) for override in compose.parsed(args.overrides)]
    jobs = Jobs(args)
    with refusing(ValueError):
        environment.refuse_wrong(jobs.base, is_sweep=True)
    typed = [line for line in args.overrides if key_of(line) != "hydra.sweep.dir"]
    folder, paths = _place(jobs, is_new=typed == args.overrides)
    place = compose.quoted("hydra.sweep.dir", folder)
    more = _trials_left(jobs.base, folder) if jobs.searches else []
    return Sweep(
        [*flags, "--multirun", *args.overrides, *more, place],
        folder,
        again=shlex.join(["svae-train", *flags, "--multirun", *typed, place]),
        swept=jobs.swept,
        paths=paths and frozenset(paths),
        runs=jobs.runs,
        searches=jobs.searches,
    )


class Jobs:
    """The jobs that `args` ask for, every one checked.

    `base` is the configuration without what is swept, `swept` the keys that are; `lines` are the
    overrides of each job in the order of their numbers, None in a search; `runs` is the number of
    runs, of which replicas are several.

    Raises:
        Refused, or one of `HYDRA_ERRORS`: when a key, a value or a combination cannot be.
    """

    def __init__(self, args: Namespace):
        self._args = args
        self._composed: dict[tuple[str, ...], DictConfig] = {}
        parser = compose.parser(args)
        self._parse = cache(parser.parse_override)
        typed = compose.parsed(args.overrides, parser)
        self.base = compose.composed(
            args, [o.input_line for o in typed if not o.is_sweep_override()]
        )
        params = self.base.hydra.sweeper.get("params") or {}
        lines = [f"{key}={value}" for key, value in params.items()]
        every = [*compose.parsed(lines, parser), *typed]
        self.searches = self.base.hydra.runtime.choices["hydra/sweeper"] not in grid.NAMES
        self.swept = frozenset(o.key_or_group for o in every if o.is_sweep_override())
        values = grid.values(every, self.searches)
        last = {o.get_key_element(): o.input_line for o in every}
        self._check(_sample(values), [*last.values()])
        if self.searches:
            if "minimize" in str(self.base.hydra.sweeper.get("direction")):
                raise Refused(
                    "hydra.sweeper.direction=minimize: the objective is the better the higher it "
                    "is, expected maximize, as search=optuna has it"
                )
            self.lines, self.runs = None, self.base.hydra.sweeper.get("n_trials")
        else:
            self.lines = grid.jobs(values)
            self.runs = self._count()

    def _check(self, jobs: list[tuple[str, ...]], lines: list[str]) -> None:
        unused = []
        for job in jobs:
            config = self.config(job)
            compose.check(config)
            unused.append(without_effect(compose.unresolved(config), lines))
        if all(unused):
            line, why = next(iter(unused[0].items()))
            raise Refused(f"{line}: {why}")
        for line in dict.fromkeys(itertools.chain(*unused)):
            print(f"{line}: has no effect on some of the models")

    def _count(self) -> int:
        """Return the number of runs, and refuse a seed that another job's replicas train, too."""
        seeds = [(c.seed, c.trainer.get("replicas", 1)) for c in map(self.config, self.lines)]
        runs = sum(count for _, count in seeds)
        taken = set()
        for job, (seed, count) in zip(self.lines, seeds, strict=True):
            if runs == len(self.lines):
                break
            others = frozenset(line for line in job if key_of(line) not in _SEEDS)
            own = {(others, number) for number in range(seed, seed + count)}
            if twice := taken & own:
                number = min(number for _, number in twice)
                raise Refused(
                    f"seed={seed} trainer.replicas={count}: seed {number} is that of another job, "
                    "expected seeds as far apart as there are replicas"
                )
            taken |= own
        return runs

    def config(self, job: Sequence[str]) -> DictConfig:
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

    def paths(self, folder: Path) -> list[Path] | None:
        """Return the folder of each job below that of the sweep, None in a search.

        Raises:
            Refused: when they do not differ, lie elsewhere, cannot be made or cannot be known
                beforehand.
        """
        if self.lines is None:
            return None
        subdir = OmegaConf.to_container(self.base.hydra.sweep, resolve=False)["subdir"]
        if subdir == _BY_NUMBER:
            return [folder / str(number) for number in range(len(self.lines))]
        names = [self._subdir(number, job) for number, job in enumerate(self.lines)]
        paths = [Path(os.path.abspath(folder / name)) for name in names]
        if "${now:" in subdir:  # the same command again would not find what it has begun
            raise Refused(f"hydra.sweep.subdir={subdir}: changes with time, {_EXPECTED}")
        for path in paths:
            compose.refuse_long(f"hydra.sweep.subdir={subdir}", path)
        _refuse_shared(subdir, folder, paths)
        return paths

    def _subdir(self, number: int, job: Sequence[str]) -> str:
        """Return the subfolder of a job, as Hydra is going to name it."""
        config = self.config(job)
        names = config.hydra.job.config.override_dirname
        own = [o for o in map(self._parse, job) if not o.is_hydra_override()]
        words = sorted(o.input_line for o in own if o.key_or_group not in names.exclude_keys)
        with read_write(config.hydra), open_dict(config.hydra):
            config.hydra.job.num = number
            name = names.item_sep.join(words).replace("=", names.kv_sep)
            config.hydra.job.override_dirname = name
        HydraConfig.instance().set_config(config)
        try:
            return str(config.hydra.sweep.subdir)
        except OmegaConfBaseException as error:
            raise Refused(f"hydra.sweep.subdir: {one_line(error)}, {_EXPECTED}") from error

    def refuse_others(self, paths: list[Path]) -> None:
        """Refuse to work in folders of others, or of runs of another configuration."""
        for job, path in zip(self.lines, paths, strict=True):
            try:
                if not path.exists() or not holds_run(path):
                    continue
                if found := mismatch(path, *compose.portable(self.config(job), job)):
                    raise Refused(found)
            except (ValueError, OSError) as error:
                raise Refused(str(error)) from error


def _sample(values: list[list[str]]) -> list[tuple[str, ...]]:
    """Return the jobs of a grid; of a large one, so many that every value occurs."""
    if math.prod(map(len, values)) <= _CHECKED_JOBS:
        return list(itertools.product(*values))
    first = [lines[0] for lines in values]
    places = [(i, line) for i, lines in enumerate(values) for line in lines]
    return [(*first[:i], line, *first[i + 1 :]) for i, line in places]


def _is_plain(override: Override) -> bool:
    """Tell whether an override only sets a value: no choice of a file, nothing added or merged."""
    key = override.key_or_group
    return (
        re.fullmatch(r"[\w.]+=.*", override.input_line, re.DOTALL) is not None
        and key not in GROUPS
        and not key.startswith("hydra.")
        and not isinstance(override.value(), dict)
    )


def _refuse_shared(subdir: str, folder: Path, paths: list[Path]) -> None:
    """Refuse subfolders that lie outside the folder of the sweep, or in one another."""
    for path in paths:
        if folder not in path.parents:
            raise Refused(f"hydra.sweep.subdir={subdir}: is {path}, outside {folder}, {_EXPECTED}")
    # a folder stands right before those in it
    ordered = sorted((path, number) for number, path in enumerate(paths))
    for (path, first), (inner, second) in itertools.pairwise(ordered):
        if inner == path:
            where = f"is {path} for runs {first} and {second}"
            raise Refused(f"hydra.sweep.subdir={subdir}: {where}, {_EXPECTED}")
        if path in inner.parents:
            where = f"the folder of run {second} would lie in that of run {first}"
            raise Refused(f"hydra.sweep.subdir={subdir}: {where}, {_EXPECTED}")


def _place(jobs: Jobs, is_new: bool) -> tuple[Path, list[Path] | None]:
    """Make the folder of the sweep; return it and, but for a search, those of the jobs."""
    wanted = compose.folder(jobs.base, "sweep")
    paths = jobs.paths(wanted)
    try:
        folder = _unused(wanted) if is_new else wanted
        if paths is not None:
            paths = [folder / path.relative_to(wanted) for path in paths]
            jobs.refuse_others(paths)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(f"{wanted}: cannot be written ({error.strerror})") from error
    return folder, paths


def _unused(folder: Path) -> Path:
    """Make and return `folder`, or `folder-1`, ...: two sweeps never share one."""
    for number in itertools.count():
        path = folder if number == 0 else folder.with_name(f"{folder.name}-{number}")
        try:
            path.mkdir(parents=True)
            return path
        except FileExistsError:
            continue
    raise AssertionError


def _trials_left(base: DictConfig, folder: Path) -> list[str]:
    """Return overrides by which a stored search makes the trials that are left of it, and no more.

    It remembers its trials: it would make as many again, and draw the first ones alike.
    """
    sweeper = base.hydra.sweeper
    done = sum(run.status.state == FINISHED for run in readable(folders(folder)))
    if not (done and sweeper.get("n_trials") and sweeper.get("storage")):
        return []
    anew = ["hydra.sweeper.sampler.seed=null"] if "seed" in sweeper.sampler else []
    return [f"hydra.sweeper.n_trials={max(0, sweeper.n_trials - done)}", *anew]
