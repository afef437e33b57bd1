"""Words to objects: data, model and optimiser from a composed configuration."""

import inspect
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn

from svae import evaluate
from svae.codec import Codec, units_of
from svae.configuration import trusted
from svae.configuration.compose import expanded
from svae.configuration.messages import no_device, no_such_key
from svae.data.splits import DataSet, DataSpec
from svae.models import data_protocol, foreign, protocol
from svae.recording import checkpoint
from svae.recording.saved import saved_config
from svae.training import compiled
from svae.training.learner import Settings
from svae.training.muon import Muon, groups_of
from svae.training.streams import seeded


def device(name: str, turn: int = 0) -> torch.device:
    """Return the device of that name; `auto` takes a CUDA GPU where there is one.

    Of several GPUs `auto` takes the one whose `turn` it is: 0, 1, ... go round them.

    Raises:
        ValueError: when the machine has no such device.
    """
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device(f"cuda:{turn % available}" if available else "cpu")
    try:
        chosen = torch.device(name)
    except (RuntimeError, TypeError):
        raise ValueError(f"device={name}: expected auto, cpu, cuda or cuda:N") from None
    if chosen.type == "cuda" and (chosen.index or 0) >= available:
        raise ValueError(no_device(name, available))
    return chosen


def data(config: DictConfig) -> DataSet:
    """Return the data set on the CPU.

    Raises:
        ValueError: when its files are missing or altered.
    """
    try:
        found = _instantiate(config.dataset, "dataset")
        data_protocol.check_data(found, _target(config.dataset, "dataset"))
        return replace(found, fingerprint=found.split_hash)  # found once, before it is moved
    except ValueError as error:
        raise ValueError(_as_typed(str(error), config.dataset)) from None


def _as_typed(text: str, node: DictConfig) -> str:
    """Return a sentence with `${oc.env:NAME}` in place of what stands there: it may be a secret."""
    typed = OmegaConf.to_container(node, resolve=False)
    for key, value in typed.items():
        if isinstance(value, str) and "${oc.env:" in value:
            for shown in _ways_to_show(str(node[key])):
                text = text.replace(shown, value)
    return text


def _ways_to_show(value: str) -> list[str]:
    """Return how a sentence may show a value: as it is, as a path, quoted, and line by line."""
    paths = str(expanded(value)), str(Path(value))
    quoted = (repr(text)[1:-1] for text in (value, *paths))
    found = {value, *paths, *quoted, " ".join(value.split()), *value.splitlines()}
    # of a very short one the replacement would say more than it hides
    return sorted((text for text in found if len(text) > 2), key=len, reverse=True)


def model(config: DictConfig, spec: DataSpec) -> nn.Module:
    """Return the model on the CPU for observations as `spec` describes them.

    Its parameters are drawn from the stream (seed, "parameters"). A network that has `image_shape`
    or `classes` among its arguments is given them.

    Raises:
        ValueError: when a class lacks something, see `svae.models.protocol`.
    """
    latent = _instantiate(config.model, "model", latent_dim=config.latent_dim)
    protocol.check_family(latent)
    arguments = {"features": spec.features, "latent": latent, "likelihood": spec.likelihood}
    if config.precision == "bf16":
        arguments["half"] = True
    accepted = _parameters(_target(config.network, "network"))
    for name in ("image_shape", "classes"):
        if name in accepted and name not in config.network:  # where it is a key of one's own
            arguments[name] = getattr(spec, name)
    if config.network._target_.startswith("svae."):
        with torch.device("meta"):
            _check_size(_instantiate(config.network, "network", **arguments))
    with seeded("cpu", config.seed, "parameters"):
        network = _instantiate(config.network, "network", **arguments)
    protocol.check_network(network)
    if _has_muon(config):
        protocol.check_hidden_weights(network)
    return network


def _check_size(model: nn.Module) -> None:
    """Refuse a model that cannot be trained here; without it, the system would end the process."""
    count = sum(parameter.numel() for parameter in model.parameters())
    # the parameters, their gradients and Adam's two moments
    needed = 4 * 4 * count
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        raise ValueError(
            f"network: {count} parameters need {needed / 2**30:.0f} GiB of memory to be trained, "
            f"this machine has {memory / 2**30:.0f}; expected a smaller network.hidden or "
            "latent_dim"
        )


def study(config: DictConfig):
    """Return the study that `study._target_` names, made of the keys beside it."""
    keys = OmegaConf.to_container(config.study, resolve=True)
    keys.pop("reads", None)  # is the command line's
    return _instantiate(OmegaConf.create(keys), "study")


def load(
    run_folder: str | Path, device: str = "cpu", trust: Iterable[str | Path] = ()
) -> tuple[nn.Module, DictConfig]:
    """Return (model, config) of a finished or interrupted run: see `svae.load`."""
    with trusted.vouching(trust):
        return _load(expanded(run_folder), device)[:2]


def codec(run_folder: str | Path, device: str = "cpu", trust: Iterable[str | Path] = ()) -> Codec:
    """Return the model of a run beside the units of its data, see `load`.

    Raises:
        ValueError: as `load` does, and when it is a model of a graph.
    """
    with trusted.vouching(trust):
        network, _, state = _load(expanded(run_folder), device)
    if state["likelihood"] == "edges":
        raise ValueError(f"{run_folder}: is of one graph, which has no other rows to encode")
    return Codec(network, units_of(state), is_binary=state["likelihood"] == "bernoulli")


def _load(folder: Path, place: str) -> tuple[nn.Module, DictConfig, dict]:
    where = device(place)
    config = saved_config(folder)
    if config.trainer.get("replicas", 1) > 1:
        raise ValueError(f"{folder}: holds replicas, expected one of them, such as {folder / '0'}")
    path = folder / "checkpoints" / "best.pt"
    state = checkpoint.load(path, where)
    checkpoint.check_best(state, path)
    likelihood = _saved_likelihood(config, state["likelihood"], path)
    shape, classes = state.get("image_shape"), state.get("classes", 0)
    spec = DataSpec(state["features"], likelihood, shape and tuple(shape), classes)
    try:
        network = model(config, spec)
    except OmegaConfBaseException as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{folder / 'config.yaml'}: expected a run's ({reason})") from None
    checkpoint.restore_model(state, network, path)
    return network.to(where).eval(), config, state


def _saved_likelihood(config: DictConfig, name: str, path: Path) -> str | type:
    """Return the likelihood that a checkpoint names, which the data set's module holds if not we.

    Raises:
        ValueError: when it does not.
    """
    if "." not in name:
        return name
    target = _target(config.dataset, "dataset")
    found = protocol.find_likelihood(name, target)
    if found is None:
        raise ValueError(f"{path}: its likelihood {name} is not in {target.__module__} any more")
    return found


def optimizer(config: DictConfig, model: nn.Module) -> torch.optim.Optimizer:
    """Return the optimiser of the parameters of `model` that are trained, where they lie."""
    rate, decay = config.trainer.learning_rate, config.trainer.get("weight_decay", 0.0)
    if _has_muon(config):
        return Muon(groups_of(model, model.hidden_weights()), rate, decay)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if decay:
        return torch.optim.AdamW(trained, lr=rate, weight_decay=decay, fused=True)
    return torch.optim.Adam(trained, lr=rate, fused=True)


def _has_muon(config: DictConfig) -> bool:
    return config.trainer.get("optimizer") == "muon"  # earlier runs have Adam, and no such key


def training(config: DictConfig) -> Settings:
    keys = OmegaConf.to_container(config.trainer, resolve=True)
    # the data set's; the number of such trainings; see `optimizer`
    for other in ("negatives", "mask_edges", "replicas", "optimizer", "weight_decay"):
        keys.pop(other, None)
    if keys.get("compile"):
        keys["compile"] = compiled.can_compile(device(config.device))
    if keys.get("cuda_graph"):
        keys["cuda_graph"] = _has_graphs(device(config.device))
    return Settings(
        **keys,
        baseline=config.sampler.baseline,
        objective=config.objective,
        seed=config.seed,
    )


@cache  # said once, of however many replicas
def _has_graphs(device: torch.device) -> bool:
    """Return whether the device has CUDA graphs; if not, one line says so."""
    if device.type != "cuda":
        print(f"trainer.cuda_graph: device={device.type} has none, the step runs as it is")
    return device.type == "cuda"


def evaluation(config: DictConfig) -> evaluate.Settings:
    return evaluate.Settings(**OmegaConf.to_container(config.evaluation, resolve=True))


def _instantiate(node: DictConfig, name: str, **arguments):
    """Build what `node._target_` names; a wrong key or value is told in one sentence."""
    target = _target(node, name)
    _check_keys(target, node, name, arguments)
    try:
        return instantiate(node, **arguments, _convert_="all", _recursive_=False)
    except InstantiationException as error:
        cause = error.__cause__ or error
        text = str(cause) or type(cause).__name__
        if isinstance(cause, MemoryError) or "allocate memory" in str(cause):
            raise ValueError(f"{name}: does not fit in memory ({text.splitlines()[0]})") from error
        if foreign.place(cause) is not None:
            text = f"{name}: {node._target_} raised {foreign.told(cause)}"
        raise ValueError(_as_typed(text, node).splitlines()[0]) from error


def _check_keys(target, node: DictConfig, name: str, arguments: dict) -> None:
    """Refuse keys that `target` does not take, and a target that does not take `arguments`."""
    parameters = _parameters(target)
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    if missing := [key for key in arguments if key not in parameters and not takes_any]:
        raise ValueError(
            f"{name}: {node._target_} does not take `{missing[0]}`, expected the arguments "
            f"{', '.join(arguments)}"
        )
    accepted = set(parameters) - set(arguments)
    unknown = sorted(str(key) for key in set(node) - {"_target_"} - accepted)
    if unknown and not takes_any and node._target_.startswith("svae."):
        raise ValueError(no_such_key(f"{name}.{unknown[0]}"))
    if unknown and not takes_any:
        raise ValueError(
            f"{name}.{unknown[0]}: {node._target_} has no such option, "
            f"expected {', '.join(sorted(accepted)) or 'none'}"
        )


def _parameters(target) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(target).parameters


def _target(node: DictConfig, name: str):
    """Return the class or function that `node._target_` names; loading it may run a person's code.

    Raises:
        ValueError: when there is none, or its module cannot be imported.
    """
    trusted.refuse_foreign(OmegaConf.to_container(node, resolve=True), name)
    logger = logging.getLogger("hydra.utils")  # it prints what is told below in one sentence
    logger.disabled = True
    try:
        target = get_object(node._target_)
        inspect.signature(target)
    except Exception as error:  # a module of a person's own may raise anything
        cause = error.__cause__ or error
        reason = foreign.told(cause)
        raise ValueError(f"{name}._target_={node._target_}: cannot be found ({reason})") from None
    finally:
        logger.disabled = False
    return target
