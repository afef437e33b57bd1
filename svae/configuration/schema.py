"""Every key of the configuration, once: what it takes, and whatever else is known of it.

A new key takes a row here, its default in the YAML, and the code that reads it.
"""

import re
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen, Predicate

from svae.configuration.words import MODES

_LARGEST = 2**31 - 1  # of a count: sums and products of them fit in 64 bits
ALWAYS = object()


@dataclass(frozen=True)
class Key:
    """What is known of one key.

    Args:
        type: of its values, as pydantic reads it, strictly: `True` is no number, "1" neither. A
            text among its annotations says what is expected where `expected` cannot derive it.
        also: names that people type for it, which a refusal answers with the right one.
        words: {value that people type: the right one}, likewise.
        may_change: on `resume`, on `evaluate`, or when a `sweep` goes on; such a run is compared
            with those of before as if it did not differ.
        alters: whether a run that sets it is another than the preset of a paper's table.
        only: for data of this kind, vectors or graphs.
        before: what runs did before the key existed.
        reasons: {value that it does not take: why not, and what is expected}.
    """

    type: Any
    also: str = ""
    may_change: str = ""
    words: dict[str, str] = field(default_factory=dict)
    alters: bool = True
    only: str | None = None
    before: Any = ALWAYS
    reasons: dict[str, str] = field(default_factory=dict)


def _count(least: int) -> Any:
    return Annotated[int, Ge(least), Le(_LARGEST)]


Count = _count(1)
UpTo1024 = Annotated[int, Ge(1), Le(1024), "a whole number from 1 to 1024"]
Seed = Annotated[int, Ge(0)]
Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
Fraction = Annotated[float, Gt(0), Lt(1), "a number between 0 and 1"]
Share = Annotated[float, Ge(0), Lt(1), "a number from 0 to below 1"]
Text = Annotated[str, MinLen(1)]
Texts = Annotated[list[str], "a list of texts"]
# what W&B takes, of which the last two are limits of its server (a name also is part of addresses)
_NAME = re.compile(r"[^/\\#?%:]{1,128}", re.DOTALL)
Place = Annotated[
    str, Predicate(_NAME.fullmatch), "text of at most 128 characters without / \\ # ? % or :"
]
Title = Annotated[str, MinLen(1), MaxLen(128), "text of 1 to 128 characters"]
Tags = Annotated[
    list[Annotated[str, MinLen(1), MaxLen(64)]], "a list of texts of 1 to 64 characters each"
]
Widths = Annotated[list[Count], MinLen(1), "a list of whole numbers from 1 up"]
_CUDA = re.compile(r"cuda:(\d|[1-9]\d)")
Device = Annotated[
    Literal["auto", "cpu", "cuda"] | Annotated[str, Predicate(_CUDA.fullmatch)],
    "auto, cpu, cuda or cuda:N",
]
Concentration = Annotated[
    Literal["m"] | Annotated[float, Gt(1), Lt(1e8)],  # above, float32 tells no directions apart
    "a number above 1 and below 1e8, or m (the ambient dimension, latent_dim + 1)",
]
_SPACE = Predicate(re.compile("[SR][1-9][0-9]{0,4}").fullmatch)
Factors = Annotated[
    list[Annotated[str, _SPACE]],
    MinLen(1),
    "a list of spheres and Euclidean spaces, such as [S9,S9,R2]",
]
Space = Annotated[str, _SPACE, "a Euclidean space or a sphere, such as R10 or S10"]
Concentrations = Annotated[list[Positive], MinLen(1), "a list of numbers above 0"]
Levels = Annotated[
    Literal["auto"] | Annotated[int, Ge(2), Le(2**16)] | None,
    "auto, a whole number from 2 to 65536, or null",
]
Likelihood = Literal[
    "auto", "bernoulli", "gaussian", "discretised_logistic", "heteroscedastic", "vmf"
]
_LOGISTIC = ("logistic", "discretized_logistic", "discretised", "discretized")
Objective = Literal[
    "val/elbo", "val/iwae", "val/reconstruction", "val/auc", "val/average_precision"
]

KEYS: dict[str, Key] = {
    "latent_dim": Key(Count, "z_dim zdim dim latent_dims latent_size n_latent nz d n_components"),
    "seed": Key(Seed, "random_seed random_state"),
    "device": Key(
        Device,
        "gpu gpus cuda accelerator",
        "resume evaluate sweep",
        {"gpu": "cuda", "true": "cuda", "0": "cuda:0", "1": "cuda:1"},
    ),
    "precision": Key(
        Literal["float32", "bf16"],
        "bf16",
        words={"bfloat16": "bf16", "fp32": "float32"}
        | dict.fromkeys(("bf16-mixed", "16-mixed", "mixed", "amp"), "bf16"),
    ),
    "threads": Key(UpTo1024 | None, "num_threads workers num_workers", "evaluate sweep"),
    "objective": Key(
        Objective,
        "monitor metric",
        reasons={
            "val/accuracy": "would choose the epoch by the labels of the validation data, which "
            "learning from few labels does without, expected val/elbo, the bound without labels"
        },
    ),
    "plots": Key(bool, "figures", "evaluate", alters=False),
    "study": Key(Annotated[None, "null, or keys under it"]),
    "study.reads": Key(Texts),
    "study.dimensions": Key(Widths),
    "study.concentrations": Key(Concentrations),
    "study.samples": Key(_count(100)),
    "study.latent_dims": Key(Widths),
    "study.epochs": Key(Widths),
    "study.observations": Key(_count(2)),
    "study.repeats": Key(_count(16)),
    "study.trained_epochs": Key(Count),
    "study.sweep": Key(Text),
    "resume": Key(Text | None, "checkpoint ckpt ckpt_path restore continue load"),
    "evaluate": Key(Text | None, "eval test"),
    "report": Key(Annotated[None, "null, or a folder of runs"], before=None),
    "encode": Key(Annotated[None, "null, or a run folder"], "embed transform", before=None),
    "model.initial_concentration": Key(Concentration | None, "kappa", before=1.6931471805599454),
    "model.link": Key(Literal["softplus", "exp"] | None, "activation", before=None),
    "model.scales": Key(bool, "scaled", before=False),
    "model.factors": Key(Factors, "components manifolds"),
    "model.isotropic": Key(bool, before=False),
    "sampler.name": Key(Literal["rejection", "inversion"]),
    "sampler.gradient": Key(
        Literal["implicit", "corrected", "score", "pathwise"],
        "estimator gradient",
        words={"reinforce": "score", "rejection": "corrected", "rsvi": "corrected"}
        | dict.fromkeys(
            ("reparam", "reparameterization", "implicit_reparameterization"), "implicit"
        ),
    ),
    "sampler.baseline": Key(
        Literal["none", "mean", "leave_one_out"],
        "control_variate",
        words={"loo": "leave_one_out", "rloo": "leave_one_out", "average": "mean"}
        | dict.fromkeys(("null", "false", "off"), "none"),
    ),
    "trainer.max_epochs": Key(
        Count, "epochs n_epochs num_epochs max_steps steps iterations", "resume"
    ),
    "trainer.batch_size": Key(Count, "bs batch_size", only="vectors"),
    "trainer.learning_rate": Key(Positive, "lr"),
    "trainer.optimizer": Key(Literal["adam", "muon"], "optim", before="adam"),
    "trainer.weight_decay": Key(NotNegative, "wd l2 decay", before=0.0),
    "trainer.schedule": Key(
        Literal["constant", "cosine", "linear"],
        "scheduler lr_schedule lr_scheduler",
        words=dict.fromkeys(("none", "null", "false"), "constant")
        | dict.fromkeys(("cosineannealinglr", "cosine_annealing"), "cosine"),
        before="constant",
    ),
    "trainer.warmup_epochs": Key(_count(0), "warmup kl_warmup kl_anneal kl_annealing"),
    "trainer.patience": Key(Count, "early_stopping", "resume"),
    "trainer.kl_weight": Key(NotNegative, "beta"),
    "trainer.samples": Key(Count, "num_samples n_samples k samples"),
    "trainer.bound": Key(Literal["elbo", "iwae"], "loss", only="vectors", before="elbo"),
    "trainer.replicas": Key(UpTo1024, "seeds", alters=False, only="vectors", before=1),
    "trainer.on_nan": Key(Literal["stop", "restart"], "", "resume sweep", before="stop"),
    "trainer.averaging": Key(bool, "ema swa", only="vectors", before=False),
    "trainer.compile": Key(bool, "torch_compile", alters=False, only="vectors", before=False),
    "trainer.cuda_graph": Key(bool, alters=False, only="vectors", before=False),
    "trainer.negatives": Key(Literal["all", "sampled"], only="graphs"),
    "trainer.mask_edges": Key(Share, "edge_dropout mask_rate", only="graphs", before=0.0),
    "evaluation.importance_samples": Key(
        Count, "iw_samples num_importance_samples", "resume evaluate", only="vectors"
    ),
    "evaluation.batch_size": Key(Count, "", "resume evaluate", alters=False, only="vectors"),
    "evaluation.samples": Key(Count, "", "resume evaluate", only="graphs"),
    "logger.mode": Key(
        Literal["auto", "online", "offline", "disabled"],
        "wandb wandb_mode use_wandb",
        "resume sweep",
        MODES,
    ),
    "logger.project": Key(Place | None, "wandb_project", "resume sweep"),
    "logger.entity": Key(Place | None, "wandb_entity", "resume sweep"),
    "logger.name": Key(Title | None, "run_name", "resume sweep"),
    "logger.tags": Key(Tags | None, "", "resume sweep"),
    "logger.artifacts": Key(bool, "log_model save_model", "resume sweep", before=False),
    "logger.images_every": Key(Count | None, "log_images", "resume sweep", before=None),
    "network.style": Key(Space, "z2 style_dim z2_dim"),
    "network.style_concentration": Key(Concentration, before=1.6931471805599454),
    "network.latent_concentration": Key(Concentration | None, before=None),
    "network.label_weight": Key(NotNegative, "alpha classification_weight"),
    "network.hidden": Key(
        Widths, "hidden_dim hidden_dims hidden_size hidden_sizes layers n_layers h_dim units"
    ),
    "network.unit_variance": Key(bool, before=False),
    "network.channels": Key(Count, "filters num_filters n_channels width"),
    "network.depth": Key(Count | None, "num_layers"),
    "network.dropout": Key(Share, "dropout dropout_rate"),
    "network.hops": Key(UpTo1024, "n_hops k"),
    "network.normalise": Key(bool, "normalize"),
    "network.spread": Key(Literal["resultant", "linear", "length", "degree"] | None),
    "dataset.root": Key(Text | None, "data_dir data_root data_path dir", alters=False),
    "dataset.file": Key(Text | None, "data_file path filename"),
    "dataset.unit": Key(Literal["degrees", "radians", "vectors"] | None),
    "dataset.unwrapped": Key(bool, "unwrap", before=True),
    "dataset.columns": Key(Count),
    "dataset.likelihood": Key(
        Likelihood,
        words={
            **{"normal": "gaussian", "bce": "bernoulli"},
            **dict.fromkeys(_LOGISTIC, "discretised_logistic"),
        },
    ),
    "dataset.levels": Key(Levels, "grey_levels gray_levels n_levels", before=None),
    "dataset.labels": Key(Count | None, "n_labels num_labels labeled labelled", before=None),
    "dataset.order": Key(
        Literal["shuffled", "time", "file"],
        "shuffle shuffled",
        words={
            **dict.fromkeys(("true", "random", "shuffle"), "shuffled"),
            **dict.fromkeys(("false", "chronological", "temporal"), "time"),
        },
        before="file",
    ),
    "dataset.validation_fraction": Key(Fraction, "val_fraction val_split val_size valid_fraction"),
    "dataset.test_fraction": Key(
        Fraction, "split train_split train_size train_fraction test_split test_size"
    ),
    "dataset.name": Key(Text),
    "dataset.split_seed": Key(Seed),
    "dataset.seed": Key(Seed),
    "dataset.negatives": Key(Literal["all", "sampled"]),
    "dataset.mask_edges": Key(Share, before=0.0),
    "dataset.featureless": Key(Literal["one_hot", "degree"]),
    "dataset.nodes": Key(_count(2)),
    "dataset.edges": Key(Count),
    "dataset.features": Key(Count),
    "dataset.noise": Key(NotNegative),
    "dataset.dimension": Key(Count, "dim"),
    "dataset.components": Key(Count),
    "dataset.concentration": Key(Positive),
    "dataset.observations": Key(Count),
}
# groups whose `_target_` is called with the rest: a person's own ones bring keys of their own
BUILT = ("model.", "network.", "dataset.", "study")


def may_change(occasion: str) -> list[str]:
    """Return the keys that may change on `resume`, `evaluate` or when a `sweep` goes on."""
    return [name for name, key in KEYS.items() if occasion in key.may_change.split()]


def takes(name: str, value: Any) -> bool:
    """Tell whether the key of this name takes `value`."""
    try:
        _adapter(KEYS[name].type).validate_python(value)
    except ValueError:
        return False
    return True


@cache
def _adapter(type_: Any) -> Any:
    # takes longer to import than all else that a help text needs
    from pydantic import ConfigDict, TypeAdapter

    return TypeAdapter(type_, config=ConfigDict(strict=True, allow_inf_nan=False))


def expected(type_: Any) -> str:
    """Return what a type takes, such as "a whole number from 1 up, or null"."""
    base, *marks = get_args(type_) if get_origin(type_) is Annotated else (type_,)
    match marks:
        case [*_, str(phrase)]:
            return phrase
        case [Ge(ge=least), Le(le=most)]:
            return f"{_WORDS[base]} from {least} up to {most}"
        case [Ge(ge=least)]:
            return f"{_WORDS[base]} from {least} up"
        case [Gt(gt=limit)]:
            return f"{_WORDS[base]} above {limit}"
    if get_origin(base) is Literal:
        return f"one of {', '.join(get_args(base))}"
    if of := get_args(base):
        return f"{expected(of[0])}, or null"
    return _WORDS[base]


_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def options(type_: Any) -> list[str]:
    """Return the words that a type takes."""
    if get_origin(type_) is Literal:
        return list(get_args(type_))
    return [word for part in get_args(type_) if get_origin(part) for word in options(part)]


def flatten(config: dict, prefix: str = "") -> dict[str, Any]:
    """Return {"trainer.samples": 1, ...}: the leaves of nested mappings by their dotted keys."""
    leaves = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        leaves |= flatten(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return leaves
