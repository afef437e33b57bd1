"""Configurations as Hydra composes them, which takes a tenth of a second: each is composed once."""

import copy
from functools import cache

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from svae.configuration import CONF

_SEED = "seed="


def composed(*overrides: str) -> DictConfig:
    """Return what the overrides come to; those of another seed alone are not composed again."""
    config = copy.deepcopy(_once(tuple(word for word in overrides if not word.startswith(_SEED))))
    for word in overrides:
        if word.startswith(_SEED):
            config.seed = int(word.removeprefix(_SEED))
    return config


@cache
def _once(overrides: tuple[str, ...]) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(overrides))
