"""`svae.fit`: a run from Python, with the keys of the command, on data in memory."""

import atexit
import re
import shutil
import threading
import weakref
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from svae import experiment
from svae.configuration import compose, trusted
from svae.configuration.checks import key_of
from svae.configuration.messages import HYDRA_ERRORS, Refused, sentence
from svae.configuration.schema import KEYS, expected
from svae.configuration.words import GROUPS
from svae.data.given import Arrays, Stored, given
from svae.data.splits import DataSet
from svae.models import data_protocol
from svae.recording import environment
from svae.recording.failures import written_down
from svae.recording.files import atomically
from svae.recording.folder import RunFolder, holds_run
from svae.run import Run

# of the command alone
_VERBS = ("resume", "evaluate", "report", "encode", "study", "search", "cluster", "hydra")
_composing = threading.Lock()  # Hydra has one configuration at a time


def fit(
    data: Any = None,
    *,
    folder: str | Path | None = None,
    store: bool = True,
    progress: bool = True,
    config_dir: str | Path | None = None,
    **keys: Any,
) -> Run:
    """Train a model on `data`, as `svae-train` does with the same keys; return the run.

    `svae.fit(x, model="vmf", latent_dim=10, trainer={"max_epochs": 30})`: a key with a point is a
    dictionary, or written `**{"trainer.max_epochs": 30}`. All keys have the command's defaults but
    `logger.mode`, which is `disabled` unless a key of `logger` is given. With the same keys and the
    same data in a file the command makes the same parameters, bit for bit.

    Random numbers, torch's threads and Hydra's state are afterwards as they were; signals are
    left alone. Fits in several threads take turns, an epoch each, since torch has one generator
    and one number of threads, that of the last to begin. Ctrl-C, or the stop button of a notebook,
    leaves the run in its folder, where `svae-train resume=FOLDER` goes on with it, and raises
    KeyboardInterrupt.

    Args:
        data: observations (N, D) or (N, height, width), whose numbers docs/data.md explains: an
            array, a tensor, a data frame or a list; with labels, whole numbers or texts, as
            (x, labels); (train, validation, test), each with labels or without; an
            `svae.data.splits.DataSet`. None: what dataset=NAME among the keys reads.
        folder: the run folder, to stay; if it is taken, FOLDER-1 and so on. None: a temporary one,
            which is deleted with the last reference to the returned run, or with the process.
        store: whether `data` are written into the folder. If not, the run cannot be resumed or
            evaluated again.
        progress: whether the terminal or notebook shows how far it is.
        config_dir: a folder of configuration and classes of one's own, as for --config-dir.

    Raises:
        ValueError: for data, keys or values that cannot be, one sentence, before any training.
        Diverged: when a number was not finite; other errors while training are raised as they are.
    """
    if isinstance(data, DataSet):
        data_protocol.check_given(data)
    source, typed = given(data), _lines(keys)
    if source is None and not store:
        raise ValueError("store=False: what dataset=NAME reads is not stored, expected data")
    if source is not None:
        _refuse_other_data(keys)
        typed = [f"dataset={source.choice}", f"dataset.file={source.file}", *typed]
    if not any(line.startswith("logger") for line in typed):
        typed.append("logger.mode=disabled")
    trust = [] if config_dir is None else [compose.expanded(config_dir)]
    with _torch_threads, trusted.vouching(trust, typed), ExitStack() as contexts:
        config = _composed(typed, *trust, has_file=source is None)
        place = None if folder is None else _place(folder)
        prepared = _prepared(config, source)
        temporary = contexts.enter_context(_temporary()) if place is None else None
        place = place or temporary / "run"
        with RunFolder.claim(place, *_record(config, typed, source, store)) as own:
            if source is not None and store:
                _store(source, own, prepared)
            with written_down(own):
                experiment.run(prepared, own, None, resumed=False, quiet=not progress)
    run = Run(own.path, str(prepared[0].device), trust)
    if temporary is not None:
        weakref.finalize(run, shutil.rmtree, temporary, ignore_errors=True)
    return run


@contextmanager
def _temporary() -> Iterator[Path]:
    """Make a folder that goes with the process where the block fails: until then it can be read."""
    folder = Path(mkdtemp(prefix="svae-"))
    try:
        yield folder
    except BaseException:
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        raise


def _prepared(config: DictConfig, source: Arrays | Stored | None) -> list[experiment.Experiment]:
    if source is None:
        return experiment.prepare(config)

    def read(own: DictConfig) -> DataSet:
        return source.data_set(OmegaConf.to_container(own.dataset, resolve=True))

    return experiment.prepare(config, read=read)


def _store(
    source: Arrays | Stored, folder: RunFolder, prepared: list[experiment.Experiment]
) -> None:
    """Write the data into the run folder, and where they are into what is going to run."""
    with atomically(folder.path / source.file) as stream:
        source.write(stream)
    for one in prepared:
        one.config.dataset.file = str(folder.path / source.file)


def _refuse_other_data(keys: Mapping[str, Any]) -> None:
    """Refuse keys that say where to read data, beside the data."""
    words = "data are given, expected one of the two"
    dataset = keys.get("dataset", {})
    if not isinstance(dataset, Mapping):
        raise ValueError(f"dataset={dataset}: {words}")
    if "dataset.file" in keys or "file" in dataset:
        raise ValueError(f"dataset.file: {words}")


def _lines(keys: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return keys and values, also of dictionaries in one another, as the command has them."""
    found = []
    for key, value in keys.items():
        name = f"{prefix}{key}"
        if re.split(r"[./@]", name.lstrip("+~"))[0] in _VERBS:
            raise ValueError(
                f"{name}: is of the command svae-train, expected a key of one training"
            )
        if isinstance(value, Mapping):
            found += _lines(value, f"{name}.")
        else:
            found.append(f"{name}={_text(name, value)}")
    return found


def _text(key: str, value: Any) -> str:
    """Return a value as Hydra reads it.

    Raises:
        ValueError: when it is none that a key could have.
    """
    value = value.item() if isinstance(value, np.generic) else value
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{','.join(_text(key, item) for item in value)}]"
    if isinstance(value, str | Path):
        is_choice = key in GROUPS and re.fullmatch(r"[\w./-]+", str(value))
        return str(value) if is_choice else compose.quote(str(value))
    wanted = expected(KEYS[key].type) if key in KEYS else "text, a number, true or false, or a list"
    raise ValueError(f"{key}={value!r:.40}: expected {wanted}, got a {type(value).__name__}")


def _composed(typed: list[str], config_dir: Path | None = None, *, has_file: bool) -> DictConfig:
    """Return the configuration that the command would have, checked as it does.

    Raises:
        ValueError: with the command's sentence.
    """
    folder = None if config_dir is None else str(config_dir)
    args = Namespace(config_dir=folder, config_name=None, overrides=typed)
    try:
        with _composing, _hydra_as_it_was():
            config = compose.composed(args, typed)
            compose.check(config, has_file=has_file)
        compose.refuse_without_effect(compose.unresolved(config), typed)
    except Refused as refusal:
        raise ValueError(str(refusal)) from None
    except HYDRA_ERRORS as error:
        raise ValueError(sentence(error)) from None
    environment.refuse_wrong(config)
    if config.study is not None:
        raise ValueError("experiment: is a study, which svae-train runs, expected a training")
    return compose.task(config)


class _TorchThreads:
    """How many threads torch has, given back once nothing fits in any thread of the process."""

    def __init__(self):
        self._lock, self._fits, self._before = threading.Lock(), 0, 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._fits:
                self._before = torch.get_num_threads()
            self._fits += 1

    def __exit__(self, *failure) -> None:
        with self._lock:
            self._fits -= 1
            if not self._fits:
                torch.set_num_threads(self._before)


_torch_threads = _TorchThreads()


@contextmanager
def _hydra_as_it_was() -> Iterator[None]:
    """Let Hydra know afterwards of no other configuration than before."""
    before = HydraConfig.instance().cfg
    try:
        yield
    finally:
        HydraConfig.instance().cfg = before


def _place(folder: str | Path) -> Path:
    if not isinstance(folder, str | Path) or not str(folder):
        raise ValueError(f"folder={folder!r}: expected the path of a folder")
    path = compose.expanded(folder).absolute()
    try:
        compose.refuse_long("folder", path)
        if path.exists():
            holds_run(path)
    except Refused as refusal:
        raise ValueError(str(refusal)) from None
    return path


def _record(
    config: DictConfig, typed: list[str], source: Arrays | Stored | None, store: bool
) -> tuple[DictConfig, list[str]]:
    """Return what the run folder says: of data that lie in it, where it is does not matter."""
    config, typed = compose.portable(config, typed)
    if source is None:
        return config, typed
    text = f"${{folder}}/{source.file}" if store else None
    config.dataset.file = text
    shown = "null" if text is None else text
    return config, [
        f"dataset.file={shown}" if key_of(line) == "dataset.file" else line for line in typed
    ]
