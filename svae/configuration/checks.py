"""Whether a configuration can work: every value, and the values beside each other."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from svae.configuration import suggestions
from svae.configuration.schema import BUILT, KEYS, expected, flatten, takes
from svae.configuration.suggestions import shown

_NEEDED_GROUPS = ("model", "sampler", "network", "trainer", "dataset", "logger", "evaluation")
# what every study reads
_READ = ("experiment", "hydra", "resume", "evaluate", "report", "encode")
_OF_LABELS = "svae.models.m1m2.M1M2"
# networks by their classes: the choice, and whether it is for graphs
_NETWORKS = {
    "svae.models.dense.AutoEncoder": ("mlp", False),
    "svae.models.conv.ConvolutionalAutoEncoder": ("conv", False),
    _OF_LABELS: ("m1m2", False),
    "svae.models.graph.GraphAutoEncoder": ("gcn", True),
    "svae.models.graph.LinearGraphAutoEncoder": ("linear", True),
}
_DIRECTIONS = "svae.data.directions.load"


def check(config: dict, hidden: Mapping[str, Any] | None = None) -> None:
    """Check every value of a resolved configuration, and the combinations that cannot work.

    `hidden` has what to show in place of values that come from the environment, by their keys.

    Raises:
        ValueError: one sentence with the value, what was expected and the nearest option.
    """
    for group in _NEEDED_GROUPS:
        if not isinstance(config.get(group), dict):
            got = f"got {shown(config.get(group))}"
            off = "; did you mean logger.mode=disabled?" if group == "logger" else ""
            raise ValueError(f"{group}: expected keys under it, {got}{off}")
    flat = flatten(config)
    for name, value in flat.items():
        _check_value(name, value, hidden)
    if _is_study(flat) and "study._target_" not in flat:
        raise ValueError("study: has no _target_, expected experiment=NAME, which chooses a study")
    checks = (_of_kinds, _of_files, _of_samplers, _of_bounds, _of_labels, _of_replicas, _of_logs)
    for contradictions in checks:
        for sentence in contradictions(flat):
            raise ValueError(sentence)


def _check_value(name: str, value: Any, hidden: Mapping[str, Any] | None = None) -> None:
    if name.endswith("._target_") and not (isinstance(value, str) and "." in value):
        raise ValueError(f"{name}={shown(value)}: expected the dotted name of a class or function")
    if name not in KEYS:
        if name.startswith(BUILT):
            return
        raise ValueError(f"{name}: no such key{suggestions.of_key(name)}")
    if isinstance(value, str) and (reason := KEYS[name].reasons.get(value)):
        raise ValueError(f"{name}={value}: {reason}")
    if not takes(name, value):
        wanted = expected(KEYS[name].type)
        if hidden and name in hidden:
            raise ValueError(f"{name}={shown(hidden[name])}: expected {wanted}")
        meant = suggestions.of_value(name, value)
        raise ValueError(f"{name}={shown(value)}: expected {wanted}{meant}")


def _of_kinds(flat: dict[str, Any]) -> Iterator[str]:
    """Yield what speaks against a configuration of vectors or of a graph; a key may be missing."""
    of_vectors, of_graphs = (sorted(_of_kind(k) & flat.keys()) for k in ("vectors", "graphs"))
    if of_vectors and of_graphs:
        yield (
            f"{of_graphs[0]} is for graphs and {of_vectors[0]} for vectors: expected trainer, "
            "evaluation and experiment to be for what dataset=NAME is, which chooses the first two"
        )
    name, is_for_graphs = _NETWORKS.get(flat.get("network._target_"), ("", bool(of_graphs)))
    if is_for_graphs != bool(of_graphs):
        kind = "a graph" if of_graphs else "no graph"
        others = [other for other, is_other in _NETWORKS.values() if is_other == bool(of_graphs)]
        fitting = f"{', '.join(others[:-1])} or {others[-1]}"
        yield f"network={name}: does not fit a dataset that is {kind}, expected {fitting}"
    if missing := sorted(needed(flat) - flat.keys()):
        yield f"{missing[0]}: is missing, expected {expected(KEYS[missing[0]].type)}"
    if flat["objective"] in ("val/auc", "val/average_precision") and not of_graphs:
        yield (
            f"objective={flat['objective']}: only graphs have links to rank, expected val/elbo, "
            "val/reconstruction or (of trainer.bound=iwae) val/iwae"
        )
    if flat["sampler.baseline"] == "mean" and of_graphs:
        yield (
            "sampler.baseline=mean: averages over other observations and a graph is one, expected "
            "none or leave_one_out"
        )


def _of_files(flat: dict[str, Any]) -> Iterator[str]:
    """Yield what the loader of directions would refuse, too, once torch has been imported."""
    is_read = flat.get("dataset._target_") == _DIRECTIONS and flat.get("dataset.file") is not None
    if is_read and flat.get("dataset.unit") is None:
        wanted = expected(KEYS["dataset.unit"].type).removesuffix(", or null")
        yield f"dataset.unit=null: expected {wanted} with dataset.file"


def _of_kind(kind: str) -> set[str]:
    """Return the keys that only data of a kind has a use for, vectors or graphs."""
    return {name for name, key in KEYS.items() if key.only == kind}


def needed(flat: dict[str, Any]) -> set[str]:
    """Return the keys that a configuration needs: all but those of the other kind of data.

    Those of the classes that it builds have defaults there.
    """
    other = _of_kind("vectors" if _of_kind("graphs") & flat.keys() else "graphs")
    return {name for name in KEYS if not name.startswith(BUILT)} - other


def _of_samplers(flat: dict[str, Any]) -> Iterator[str]:
    baseline, gradient = flat["sampler.baseline"], flat["sampler.gradient"]
    if flat.get("model.sampler") == "inversion" and flat["latent_dim"] != 2:
        yield f"sampler=inversion: exists for latent_dim=2 only, got {flat['latent_dim']}"
    if flat["sampler.name"] == "inversion" and gradient == "corrected":
        yield (
            "sampler.gradient=corrected: sampler=inversion rejects nothing that could be corrected"
        )
    if baseline != "none" and gradient not in ("corrected", "score"):
        yield (
            f"sampler.baseline={baseline}: sampler.gradient={gradient} has no score term that a "
            "baseline could serve, expected none, or sampler.gradient=corrected or score"
        )
    if baseline == "leave_one_out" and flat["trainer.samples"] < 2:
        yield (
            f"sampler.baseline=leave_one_out: needs trainer.samples from 2 up, "
            f"got {flat['trainer.samples']}"
        )


def _of_bounds(flat: dict[str, Any]) -> Iterator[str]:
    """Yield what the importance-weighted bound lacks, or what needs it; graphs have none."""
    bound, gradient = flat.get("trainer.bound", "elbo"), flat["sampler.gradient"]
    if bound == "elbo":
        if flat["objective"] == "val/iwae":
            yield (
                "objective=val/iwae: only trainer.bound=iwae measures it, and graphs have none, "
                "expected another objective, or trainer.bound=iwae"
            )
        return
    if _is_study(flat):
        yield f"trainer.bound={bound}: studies are about the ELBO, expected elbo"
    if flat["trainer.samples"] < 2:
        yield "trainer.bound=iwae: of one sample is the ELBO, expected trainer.samples from 2 up"
    if gradient in ("corrected", "score"):
        yield (
            f"trainer.bound=iwae: sampler.gradient={gradient} has a score term, which this bound "
            "does not take, expected sampler.gradient=implicit (pathwise is taken, and biased)"
        )


def _of_labels(flat: dict[str, Any]) -> Iterator[str]:
    """Yield what cannot be done with a model that learns from few labels."""
    if flat.get("network._target_") != _OF_LABELS:
        return
    wanted = {
        "trainer.bound": ("elbo", "is trained by its own bound"),
        "trainer.replicas": (1, "is trained alone"),
        "trainer.compile": (False, "has a step that is not compiled"),
        "trainer.cuda_graph": (False, "has a step that is not recorded"),
        "sampler.gradient": ("implicit", "takes samples that carry their exact gradient"),
    }
    for name, (value, why) in wanted.items():
        if flat.get(name, value) != value:
            yield f"{name}={shown(flat[name])}: network=m1m2 {why}, expected {shown(value)}"
    if _is_study(flat):
        yield "network=m1m2: studies are about models without labels, expected network=mlp"


def _of_replicas(flat: dict[str, Any]) -> Iterator[str]:
    replicas = flat.get("trainer.replicas", 1)
    if replicas > 1 and flat["trainer.compile"]:
        yield (
            f"trainer.replicas={replicas}: several models in one step are not compiled, expected "
            "trainer.compile=false"
        )
    if replicas > 1 and _is_study(flat):
        yield f"trainer.replicas={replicas}: a study trains nothing, expected 1"


def _of_logs(flat: dict[str, Any]) -> Iterator[str]:
    every = flat["logger.images_every"]
    if every is not None and not flat["plots"]:
        yield f"logger.images_every={every}: plots=false draws none, expected null or plots=true"
    for name in ("logger.images_every", "logger.artifacts"):
        if flat[name] and _is_study(flat):
            default = shown(KEYS[name].before)
            yield f"{name}={shown(flat[name])}: a study trains nothing, expected {default}"


def _is_study(flat: dict[str, Any]) -> bool:
    return any(name.startswith("study.") for name in flat)


def key_of(line: str) -> str:
    """Return the key or group that an override is of."""
    return re.split("[=@]", line.lstrip("+~"), maxsplit=1)[0]


def is_unread(config: dict, key: str) -> bool:
    """Tell whether `config` is of a study that a key or group has no effect on."""
    study = config.get("study")
    return bool(study) and re.split(r"[./]", key)[0] not in (*_READ, *study.get("reads", ()))


def without_effect(config: dict, overrides: Iterable[str]) -> dict[str, str]:
    """Return {override: why} of those that have no effect on what `config` configures.

    A study reads some groups only, not every model has a sampler or lies on a sphere.
    """
    has_sampler = any("${sampler." in str(value) for value in config["model"].values())
    found = {}
    for line in overrides:
        key = key_of(line)
        if is_unread(config, key):
            words = ", ".join(config["study"].get("reads", ()))
            found[line] = f"has no effect on this study, expected one of {words}"
        elif f"{key}.".startswith("sampler.") and not has_sampler:
            found[line] = (
                "this model has no sampler, model=vmf, model=scaled_vmf and model=product have one"
            )
        elif key == "network.unit_variance" and _is_flat(config):
            found[line] = "has no effect on a Gaussian, only what lies on a sphere is stretched"
        elif key == "network.style_concentration" and _style(config).startswith("R"):
            found[line] = "has no effect on a Gaussian z2, expected network.style=S10 or so with it"
        elif key == "network.latent_concentration" and "isotropic" in config["model"]:
            found[line] = "has no effect on a Gaussian z1, expected model=vmf or so with it"
        elif key in ("model.initial_concentration", "model.link") and _is_fitted(config):
            found[line] = (
                "has no effect where neighbours decide on the concentration, expected "
                "network.spread=linear, length or degree with it"
            )
    return found


def _is_fitted(config: dict) -> bool:
    """Tell whether the one concentration of a node is that of its neighbours."""
    network, model = config["network"], config["model"]
    is_named = network.get("spread", "linear") in (None, "resultant")
    return (
        is_named and network.get("normalise") and "factors" not in model and not model.get("scales")
    )


def _is_flat(config: dict) -> bool:
    """Tell whether no latent vector lies on a sphere: all are Gaussian."""
    return "isotropic" in config["model"] and not _style(config).startswith("S")


def _style(config: dict) -> str:
    """Return where z2 lies, nowhere if there is none."""
    return str(config["network"].get("style", ""))
