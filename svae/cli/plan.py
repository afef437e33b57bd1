"""From arguments to a plan: everything is composed and checked before anything is made."""

import contextlib
import os
import re
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from omegaconf import DictConfig

from svae.cli import sweeps
from svae.cli.sweeps import Sweep
from svae.configuration import compose
from svae.configuration.checks import key_of
from svae.configuration.messages import Refused, refusing
from svae.configuration.schema import KEYS, expected, takes
from svae.configuration.suggestions import shown
from svae.recording import environment
from svae.recording.folder import holds_run
from svae.recording.saved import reopened, saved_values


@dataclass(frozen=True)
class Report:
    """The report of these folders, made again."""

    folders: list[Path]


@dataclass(frozen=True)
class Encode:
    """The latent vectors of the rows of a file by the run in a folder, into a folder of their own.

    `threads` None leaves the choice to torch.
    """

    folder: Path
    file: Path
    output: Path
    device: str
    threads: int | None


@dataclass(frozen=True)
class Single:
    """One run folder: to start a run in, or to resume or evaluate the one that it holds.

    `overrides` are what was typed: the record of a new run, the changes to one that is there.
    `flags` come before them in a command that continues it.
    """

    verb: Literal["start", "resume", "evaluate"]
    folder: Path
    config: DictConfig
    overrides: list[str]
    flags: tuple[str, ...]


_VERBS = ("report", "resume", "evaluate", "encode")


def plan(args: Namespace) -> Report | Encode | Single | Sweep:
    """Compose and check everything that `args` ask for.

    Raises:
        Refused, or one of `HYDRA_ERRORS`: when a key, a value or a combination cannot be.
    """
    names = _names(args.overrides)
    args.overrides = [_with_a_name(line, names) for line in args.overrides]
    typed, flags = compose.values(args.overrides), compose.flags(args)
    _refuse_repeated(args.overrides)
    match [verb for verb in _VERBS if typed.get(verb) is not None]:
        case ["report", *_]:
            return _report(args, typed["report"])
        case ["encode"]:
            return _encode(args, typed)
        case [verb]:
            return _reopen(args, verb, typed[verb], flags)
        case [_, *_] as verbs:
            count = " of the two" if len(verbs) == 2 else ""
            raise Refused(f"{' and '.join(verbs)}: give one{count}")
    if args.multirun:
        return _sweep(args, flags)
    config = compose.checked(args, args.overrides)
    compose.refuse_without_effect(compose.unresolved(config), args.overrides)
    if config.hydra.mode is not None and config.hydra.mode.name != "RUN":
        return _sweep(args, flags)
    for line in args.overrides:
        if f"{key_of(line)}.".startswith(_OF_SWEEPS):
            raise Refused(f"{line}: is of a sweep, which needs --multirun (-m)")
    with refusing(ValueError):
        environment.refuse_wrong(config)
    if config.hydra.callbacks or config.hydra.job.env_set:
        raise Refused("hydra.callbacks, hydra.job.env_set: only the jobs of a sweep have them (-m)")
    folder = compose.folder(config, "run")
    # before the data are read, which takes seconds
    with refusing(ValueError, OSError):
        if folder.exists():
            holds_run(folder)
    return Single("start", folder, compose.task(config), args.overrides, flags)


_OF_ENCODE = ("file", "output")


def _names(lines: list[str]) -> tuple[str, ...]:
    """Return the keys whose values are names of files and folders, whatever they look like."""
    encodes = any(key_of(line) == "encode" for line in lines)
    return (*_VERBS, *_OF_ENCODE) if encodes else _VERBS


def _with_a_name(line: str, names: tuple[str, ...]) -> str:
    """Return an override of one of `names` such that Hydra reads its value as a text.

    It may be 0 or 1e5, or hold what Hydra's grammar has other uses for.
    """
    key, _, value = line.partition("=")
    several = r"|\[.*\]" if key == "report" else ""
    is_read = not value or re.fullmatch(rf"'.*'|\".*\"{several}", value)
    return compose.quoted(key, Path(value)) if key in names and not is_read else line


# what a run alone does not read
_OF_SWEEPS = (
    *("hydra.sweep.", "hydra.sweeper.", "hydra.launcher.", "hydra/sweeper.", "hydra/launcher."),
    *("search.", "cluster."),
)


def _sweep(args: Namespace, flags: tuple[str, ...]) -> Sweep:
    for line in args.overrides:
        if (key := key_of(line)).startswith("hydra.run."):
            raise Refused(f"{line}: is of a run alone, expected {key.replace('run', 'sweep')}")
    return sweeps.plan(args, flags)


def _refuse_repeated(lines: list[str]) -> None:
    """Refuse a key that is typed twice, of which one would win without a word."""
    found = {}
    for override in compose.parsed(lines):
        key, line = override.get_key_element().lstrip("+"), override.input_line
        if key in found:
            raise Refused(f"{line}: {found[key]} is typed, too, expected {key} once")
        found[key] = line


def _report(args: Namespace, typed: Any) -> Report:
    names = typed if isinstance(typed, list) else [typed]
    if args.multirun or len(args.overrides) > 1:
        raise Refused(f"report={typed}: reads runs that were made, nothing else goes with it")
    if not names or not all(isinstance(name, str) and name for name in names):
        raise Refused(f"report={typed}: expected a folder of runs, or a list of such folders")
    folders = [compose.expanded(name) for name in names]
    for folder in folders:
        if not os.path.exists(folder):  # also where the name is too long for any
            raise Refused(f"report={folder}: no such folder")
    return Report(folders)


def _encode(args: Namespace, typed: dict[str, Any]) -> Encode:
    """Plan to encode a file by a run, of which nothing is changed."""
    allowed = ("encode", *_OF_ENCODE, "device", "threads")
    if args.multirun:
        raise Refused(f"encode={typed['encode']}: takes one run folder, without --multirun")
    for line in args.overrides:
        if (key := key_of(line)) not in allowed:
            raise Refused(f"{line}: has no effect on encode=, expected {', '.join(allowed[1:])}")
        if key in KEYS and key != "encode" and not takes(key, typed[key]):
            raise Refused(f"{line}: expected {expected(KEYS[key].type)}")
    if not set(_OF_ENCODE) <= typed.keys():
        raise Refused("encode=RUN: expected what to encode and where to, file=NEW.npy output=DIR")
    for key, words in (("encode", "a run folder"), ("file", "a file"), ("output", "a folder")):
        if not isinstance(typed.get(key), str) or not typed[key]:
            raise Refused(f"{key}={shown(typed.get(key))}: expected {words}")
    folder, file, output = (compose.expanded(typed[key]) for key in ("encode", *_OF_ENCODE))
    if not os.path.isfile(file):
        raise Refused(f"file={file}: expected an .npy or .npz file, found none")
    compose.refuse_long("output", output.absolute())
    for place in (output.absolute(), *output.absolute().parents):
        if (place / "status.json").exists():  # its own latents are those of its test set
            raise Refused(f"output={output}: lies in a run folder, expected a folder of its own")
    if (reason := _no_run(folder)) is not None:
        raise Refused(f"encode={reason}")
    return Encode(folder, file, output, typed.get("device", "auto"), typed.get("threads"))


def _reopen(
    args: Namespace, verb: Literal["resume", "evaluate"], typed: Any, flags: tuple[str, ...]
) -> Single:
    """Plan to continue or to evaluate the run in a folder, with a few keys changed."""
    if args.multirun:
        raise Refused(f"{verb}={typed}: takes one run folder, without --multirun")
    if not isinstance(typed, str) or not typed:
        raise Refused(f"{verb}={typed}: expected a run folder")
    folder = compose.expanded(typed)
    lines = [line for line in args.overrides if key_of(line) != verb]
    try:
        before = saved_values(folder)
    except (ValueError, OSError) as error:
        raise Refused(f"{verb}={_no_run(folder) or error}") from error
    changes = compose.changes(verb, lines, before)
    with refusing(ValueError):
        config = reopened(folder, changes)
    compose.refuse_without_effect(before, lines)  # now that it is known to be a good one
    if verb == "resume":
        with refusing(ValueError):
            environment.refuse_wrong(config)
    return Single(verb, folder.absolute(), config, lines, flags)


def _no_run(folder: Path) -> str | None:
    """Return what `folder` is, one sentence, where it is plainly something else than a run's."""
    with contextlib.suppress(OSError):  # such as a folder that may not be read
        if not folder.exists():
            return f"{folder}: no such folder"
        runs = [place for place in folder.parents if (place / "status.json").is_file()]
        if runs and not (folder / "status.json").exists():
            return f"{folder}: lies in a run folder, did you mean {runs[0]}?"
        if (folder / "multirun.yaml").is_file() and not (folder / ".hydra").exists():
            again = compose.quoted("hydra.sweep.dir", folder)
            return (
                f"{folder}: is the folder of a sweep; type its command again with {again}, "
                "or give one of its runs"
            )
    return None
