"""Which values the keys of the configuration take, checked before anything heavy is imported."""

import difflib
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

_LARGEST = 2**31 - 1  # of a count: sums and products of them fit in 64 bits


@dataclass(frozen=True)
class Accepts:
    """What a key takes: a phrase for the error message, and the test of a value."""

    expected: str
    test: Callable[[Any], bool]
    options: tuple[str, ...] = ()


def _whole(least: int) -> Accepts:
    return Accepts(
        f"a whole number from {least} up to {_LARGEST}",
        lambda v: _is_int(v) and least <= v <= _LARGEST,
    )


def _real(phrase: str, test: Callable[[float], bool]) -> Accepts:
    return Accepts(phrase, lambda v: _is_number(v) and math.isfinite(v) and test(v))


def _one_of(*options: str) -> Accepts:
    return Accepts(f"one of {', '.join(options)}", lambda v: v in options, options)


def _list_of(phrase: str, test: Callable[[Any], bool]) -> Accepts:
    return Accepts(
        f"a list of {phrase}", lambda v: isinstance(v, list) and len(v) > 0 and all(map(test, v))
    )


def _or_null(accepts: Accepts) -> Accepts:
    return Accepts(
        f"{accepts.expected}, or null", lambda v: v is None or accepts.test(v), accepts.options
    )


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_UP_TO_1024 = Accepts("a whole number from 1 to 1024", lambda v: _is_int(v) and 1 <= v <= 1024)
_TEXT = Accepts("text", lambda v: isinstance(v, str) and v != "")
_SWITCH = Accepts("true or false", lambda v: isinstance(v, bool))
_POSITIVE = _real("a number above 0", lambda v: v > 0)
_NOT_NEGATIVE = _real("a number from 0 up", lambda v: v >= 0)
_FRACTION = _real("a number between 0 and 1", lambda v: 0 < v < 1)
_TEXTS = Accepts(
    "a list of texts", lambda v: isinstance(v, list) and all(isinstance(t, str) for t in v)
)
_WIDTHS = _list_of("whole numbers from 1 up", lambda v: _is_int(v) and v >= 1)
_CONCENTRATION = Accepts(
    "a number above 1, or m (the ambient dimension, latent_dim + 1)",
    lambda v: v == "m" or (_is_number(v) and 1 < v < math.inf),
    ("m",),
)
_DEVICE = Accepts(
    "auto, cpu, cuda or cuda:N",
    lambda v: isinstance(v, str) and re.fullmatch(r"auto|cpu|cuda(:\d+)?", v) is not None,
    ("auto", "cpu", "cuda", "cuda:0"),
)

_SEED = Accepts("a whole number from 0 up", lambda v: _is_int(v) and v >= 0)

KEYS: dict[str, Accepts] = {
    "latent_dim": _whole(1),
    "seed": _SEED,
    "device": _DEVICE,
    "precision": _one_of("float32", "bf16"),
    "threads": _or_null(_UP_TO_1024),
    "objective": _one_of(
        "val/elbo", "val/iwae", "val/reconstruction", "val/auc", "val/average_precision"
    ),
    "plots": _SWITCH,
    "study": Accepts("null, or keys under it", lambda v: v is None),
    "study.reads": _TEXTS,
    "study.dimensions": _WIDTHS,
    "study.concentrations": _list_of("numbers above 0", lambda v: _is_number(v) and v > 0),
    "study.samples": _whole(100),
    "study.latent_dims": _WIDTHS,
    "study.epochs": _WIDTHS,
    "study.observations": _whole(2),
    "study.repeats": _whole(16),
    "study.trained_epochs": _whole(1),
    "study.sweep": _TEXT,
    "resume": _or_null(_TEXT),
    "evaluate": _or_null(_TEXT),
    "report": Accepts("null, or a folder of runs", lambda v: v is None),
    "model.initial_concentration": _CONCENTRATION,
    "model.isotropic": _SWITCH,
    "sampler.name": _one_of("rejection", "inversion"),
    "sampler.gradient": _one_of("implicit", "corrected", "score", "pathwise"),
    "sampler.baseline": _one_of("none", "mean", "leave_one_out"),
    "trainer.max_epochs": _whole(1),
    "trainer.batch_size": _whole(1),
    "trainer.learning_rate": _POSITIVE,
    "trainer.schedule": _one_of("constant", "cosine"),
    "trainer.warmup_epochs": _whole(0),
    "trainer.patience": _whole(1),
    "trainer.kl_weight": _NOT_NEGATIVE,
    "trainer.samples": _whole(1),
    "trainer.bound": _one_of("elbo", "iwae"),
    "trainer.replicas": _UP_TO_1024,
    "trainer.on_nan": _one_of("stop", "restart"),
    "trainer.averaging": _SWITCH,
    "trainer.compile": _SWITCH,
    "trainer.cuda_graph": _SWITCH,
    "trainer.negatives": _one_of("all", "sampled"),
    "evaluation.importance_samples": _whole(1),
    "evaluation.batch_size": _whole(1),
    "evaluation.samples": _whole(1),
    "logger.mode": _one_of("auto", "online", "offline", "disabled"),
    "logger.project": _TEXT,
    "logger.entity": _or_null(_TEXT),
    "logger.name": _or_null(_TEXT),
    "logger.tags": _TEXTS,
    "network.hidden": _WIDTHS,
    "network.unit_variance": _SWITCH,
    "network.dropout": _real("a number from 0 to below 1", lambda v: 0 <= v < 1),
    "dataset.root": _or_null(_TEXT),
    "dataset.file": _or_null(_TEXT),
    "dataset.unit": _or_null(_one_of("degrees", "radians", "vectors")),
    "dataset.columns": _whole(1),
    "dataset.likelihood": _one_of("auto", "bernoulli", "gaussian", "heteroscedastic", "vmf"),
    "dataset.validation_fraction": _FRACTION,
    "dataset.test_fraction": _FRACTION,
    "dataset.name": _TEXT,
    "dataset.split_seed": _SEED,
    "dataset.seed": _SEED,
    "dataset.negatives": _one_of("all", "sampled"),
    "dataset.nodes": _whole(2),
    "dataset.edges": _whole(1),
    "dataset.features": _whole(1),
    "dataset.noise": _NOT_NEGATIVE,
    "dataset.dimension": _whole(1),
    "dataset.components": _whole(1),
    "dataset.concentration": _POSITIVE,
    "dataset.observations": _whole(1),
}
GROUPS = (
    "model",
    "sampler",
    "network",
    "trainer",
    "dataset",
    "evaluation",
    "logger",
    "experiment",
    "search",
    "cluster",
)
_NEEDED = ("model", "sampler", "network", "trainer", "dataset", "logger", "evaluation")
# groups whose `_target_` is called with the rest: a person's own ones bring keys of their own
_BUILT = ("model.", "network.", "dataset.", "study")
_REQUIRED = {key for key in KEYS if not key.startswith(_BUILT)}
_BY_DATASET = ("network", "trainer", "evaluation")
# what only a data set of vectors, or only a graph, has a use for
_OF_VECTORS = {
    "trainer.batch_size",
    "trainer.bound",
    "trainer.averaging",
    "trainer.compile",
    "trainer.cuda_graph",
    "evaluation.importance_samples",
    "evaluation.batch_size",
    "trainer.replicas",
}
_OF_GRAPHS = {"trainer.negatives", "evaluation.samples"}
# the network for vectors, that for graphs
_NETWORKS = (
    ("svae.models.dense.AutoEncoder", "mlp"),
    ("svae.models.graph.GraphAutoEncoder", "gcn"),
)
_OBJECTIVES_OF_GRAPHS = ("val/auc", "val/average_precision")


def check(config: dict) -> None:
    """Check every value of a resolved configuration, and the combinations that cannot work.

    Raises:
        ValueError: one sentence with the value, what was expected and the nearest option.
    """
    for group in _NEEDED:
        if not isinstance(config.get(group), dict):
            raise ValueError(f"{group}: expected keys under it, got {shown(config.get(group))}")
    flat = flatten(config)
    for key, value in flat.items():
        _check_value(key, value)
    _check_kind(flat)
    if flat.get("model.sampler") == "inversion" and flat["latent_dim"] != 2:
        raise ValueError(
            f"sampler=inversion: exists for latent_dim=2 only, got {flat['latent_dim']}"
        )
    if flat["sampler.name"] == "inversion" and flat["sampler.gradient"] == "corrected":
        raise ValueError(
            "sampler.gradient=corrected: sampler=inversion rejects nothing that could be corrected"
        )
    _check_baseline(flat)
    _check_bound(flat)
    _check_replicas(flat)


def _check_value(key: str, value: Any) -> None:
    accepts = KEYS.get(key)
    if key.endswith("._target_") and not (isinstance(value, str) and "." in value):
        raise ValueError(f"{key}={shown(value)}: expected the dotted name of a class or function")
    if accepts is None:
        if key.startswith(_BUILT):
            return
        raise ValueError(f"{key}: no such key{hint_of_key(key)}")
    if not accepts.test(value):
        suggestion = hint(str(value), accepts.options)
        raise ValueError(f"{key}={shown(value)}: expected {accepts.expected}{suggestion}")


def hint_of_key(key: str) -> str:
    """Return what helps after "no such key": the nearest key or group, or nothing."""
    if key in KEYS:
        group = key.split(".")[0]
        chosen = ", which the dataset chooses" if group in _BY_DATASET else ""
        return f" for this {group}{chosen}"
    return hint(key, KEYS if "." in key else (*KEYS, *GROUPS))


def _check_kind(flat: dict) -> None:
    """Check that the keys are all there, and those of vectors or those of graphs."""
    of_vectors, of_graphs = (sorted(keys & flat.keys()) for keys in (_OF_VECTORS, _OF_GRAPHS))
    if of_vectors and of_graphs:
        raise ValueError(
            f"{of_graphs[0]} is for graphs and {of_vectors[0]} for vectors: dataset, trainer and "
            "evaluation belong together, and dataset=NAME alone chooses them"
        )
    other, name = _NETWORKS[not of_graphs]
    if flat.get("network._target_") == other:
        kind = "a graph" if of_graphs else "no graph"
        raise ValueError(
            f"network={name}: does not fit a dataset that is {kind}; the dataset alone chooses one"
        )
    if missing := sorted(_REQUIRED - _unused(flat) - flat.keys()):
        raise ValueError(f"{missing[0]}: is missing, expected {KEYS[missing[0]].expected}")
    if flat["objective"] in _OBJECTIVES_OF_GRAPHS and not of_graphs:
        raise ValueError(
            f"objective={flat['objective']}: only graphs have links to rank, expected val/elbo, "
            "val/reconstruction or (of trainer.bound=iwae) val/iwae"
        )
    if flat["sampler.baseline"] == "mean" and of_graphs:
        raise ValueError(
            "sampler.baseline=mean: averages over other observations and a graph is one, expected "
            "none or leave_one_out"
        )


def _check_baseline(flat: dict) -> None:
    baseline, gradient = flat["sampler.baseline"], flat["sampler.gradient"]
    if baseline != "none" and gradient not in ("corrected", "score"):
        raise ValueError(
            f"sampler.baseline={baseline}: sampler.gradient={gradient} has no score term that a "
            "baseline could serve, expected none, or sampler.gradient=corrected or score"
        )
    if baseline == "leave_one_out" and flat["trainer.samples"] < 2:
        raise ValueError(
            f"sampler.baseline=leave_one_out: needs trainer.samples from 2 up, "
            f"got {flat['trainer.samples']}"
        )


def _check_bound(flat: dict) -> None:
    """Check what the importance-weighted bound needs, and what needs it; graphs have none."""
    bound = flat.get("trainer.bound", "elbo")
    if bound == "elbo" and flat["objective"] == "val/iwae":
        raise ValueError(
            "objective=val/iwae: only trainer.bound=iwae measures it, and graphs have none, "
            "expected another objective, or trainer.bound=iwae"
        )
    if bound == "elbo":
        return
    if any(key.startswith("study.") for key in flat):
        raise ValueError(f"trainer.bound={bound}: studies are about the ELBO, expected elbo")
    if flat["trainer.samples"] < 2:
        raise ValueError(
            "trainer.bound=iwae: of one sample is the ELBO, expected trainer.samples from 2 up"
        )
    gradient = flat["sampler.gradient"]
    if gradient in ("corrected", "score"):
        raise ValueError(
            f"trainer.bound=iwae: sampler.gradient={gradient} has a score term, which this bound "
            "does not take, expected sampler.gradient=implicit (pathwise is taken, and biased)"
        )


def _check_replicas(flat: dict) -> None:
    replicas = flat.get("trainer.replicas", 1)
    if replicas == 1:
        return
    if flat["trainer.compile"]:
        raise ValueError(
            f"trainer.replicas={replicas}: several models in one step are not compiled, expected "
            "trainer.compile=false"
        )
    if any(key.startswith("study.") for key in flat):
        raise ValueError(f"trainer.replicas={replicas}: a study trains nothing, expected 1")


def flatten(config: dict, prefix: str = "") -> dict[str, Any]:
    """Return {"trainer.samples": 1, ...}: the leaves of nested mappings by their dotted keys."""
    leaves = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            leaves |= flatten(value, f"{name}.")
        else:
            leaves[name] = value
    return leaves


# what runs did before these keys came in
_EARLIER = {
    "model.initial_concentration": 1.6931471805599454,
    "model.isotropic": False,
    "network.unit_variance": False,
    "report": None,
    "trainer.averaging": False,
    "trainer.bound": "elbo",
    "trainer.compile": False,
    "trainer.cuda_graph": False,
    "trainer.on_nan": "stop",
    "trainer.replicas": 1,
    "trainer.schedule": "constant",
}


def since(values: dict) -> dict[str, Any]:
    """Return what a configuration lacks of the keys that came in later, with what such a run did.

    The classes of `model` and `network` have that as their defaults.
    """
    flat = flatten(values)
    missing = _EARLIER.keys() & (_REQUIRED - _unused(flat)) - flat.keys()
    return {key: _EARLIER[key] for key in sorted(missing)}


def _unused(flat: dict[str, Any]) -> set[str]:
    """Return the keys of vectors where `flat` is about a graph, else those of graphs."""
    return _OF_VECTORS if _OF_GRAPHS & flat.keys() else _OF_GRAPHS


def come_since(before: dict, after: dict) -> dict[str, Any]:
    """Return the keys of `after` that came in since `before`, with what such a run did."""
    had, has = flatten(before), flatten(after)
    came = {k: v for k, v in _EARLIER.items() if k in has and k not in had}
    return {k: v for k, v in came.items() if not is_unread(after, k)}


def is_unread(config: dict, key: str) -> bool:
    """Tell whether `config` is of a study that a key or group has no effect on."""
    if not config.get("study"):
        return False
    reads = (
        "experiment",
        "hydra",
        "resume",
        "evaluate",
        "report",
        *config["study"].get("reads", ()),
    )
    return re.split(r"[./]", key)[0] not in reads


def difference(
    before: dict, after: dict, free: tuple[str, ...], among: tuple[str, ...] = ("",)
) -> str | None:
    """Return in which key a run's configuration differs from the one it began with, or None.

    Looks `among` the keys that start with one of these words, but for those that start with one of
    `free`.
    """
    began, now = come_since(before, after) | flatten(before), flatten(after)
    for key in sorted(began.keys() | now.keys()):
        old, new = began.get(key), now.get(key)
        if old == new or key.startswith(free) or is_unread(after, key):
            continue
        if key.startswith(among):
            return f"{key} was {shown(old)} when the run began and is {shown(new)} now"
    return None


def retyped(before: Iterable[str], now: Iterable[str]) -> tuple[str, ...]:
    """Return how the keys begin on which other values, or no longer the same ones, were typed."""
    keys = {re.split("[=@]", line.lstrip("+~"), maxsplit=1)[0] for line in {*before} ^ {*now}}
    words = {key: f"{key}." if key in GROUPS else key for key in keys}
    return tuple("" if key in _CHOOSES_MORE else word for key, word in sorted(words.items()))


# groups whose choice reaches beyond their own keys
_CHOOSES_MORE = ("experiment", "dataset", "search", "cluster")


def nearest(word: str, options: Iterable[str]) -> str | None:
    """Return the option that looks most like `word`, or None when none does."""
    options = list(options)
    last = {option.rsplit(".", 1)[-1]: option for option in reversed(options)}
    found = difflib.get_close_matches(word, options, 1, 0.6)
    return found[0] if found else last.get(next(iter(_close(word, last)), None))


def _close(word: str, options: Iterable[str]) -> list[str]:
    return difflib.get_close_matches(word.rsplit(".", 1)[-1], list(options), 1, 0.75)


def hint(word: str, options: Iterable[str]) -> str:
    """Return "; did you mean ...?" with the nearest option, or nothing."""
    option = nearest(word, options)
    return f"; did you mean {option}?" if option else ""


def shown(value: Any) -> str:
    """Return the value as a person types it."""
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    return str(value)
