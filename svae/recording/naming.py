"""What a run and its choices are called: vmf-d10-s0."""

from functools import cache
from typing import Any

import yaml

from svae.configuration import CONF
from svae.configuration.schema import KEYS


def run_name(config: dict) -> str:
    """Return the name of a run of this configuration: model, latent dimension and seed.

    And where styles lie, if it has some: vmf-d10-R10-s0.
    """
    style = config.get("network", {}).get("style")
    words = [chosen(config, "model"), f"d{config['latent_dim']}", style, f"s{config['seed']}"]
    return "-".join(str(word) for word in words if word)


def chosen(config: dict, group: str) -> str:
    """Return the word that chooses what the configuration has for `group`, such as vmf.

    It is that of the file with the same `_target_` and, where several have it, as Cora's and
    Citeseer's do, the most values in common. A class of a person's own keeps its name.
    """
    values = config[group]
    target = values["_target_"]
    files = [(name, keys) for name, keys in _choices(group) if keys["_target_"] == target]
    if not files:
        return target.rsplit(".", 1)[-1]
    return max(files, key=lambda file: _common(group, values, file[1]))[0]


def _common(group: str, values: dict, keys: dict) -> int:
    """Return how many values are those of a file; a key that came in later has what was before."""
    known = ((KEYS.get(f"{group}.{key}"), key, value) for key, value in keys.items())
    return sum(values.get(key, row and row.before) == value for row, key, value in known)


@cache
def _choices(group: str) -> list[tuple[str, dict[str, Any]]]:
    """Return (word, keys) of the files of a group that name a class or function."""
    words = sorted(file.stem for file in (CONF / group).glob("*.yaml"))
    known = [(word, _keys(group, word)) for word in words]
    return [(word, keys) for word, keys in known if "_target_" in keys]


def _keys(group: str, word: str) -> dict[str, Any]:
    """Return the keys of a file of a group, and those of the files of the group that it takes."""
    content = yaml.safe_load((CONF / group / f"{word}.yaml").read_text("utf-8"))
    own = content.pop(group, content)  # some set keys of other groups, too
    taken = content.pop("defaults", [])
    names = [name for name in taken if isinstance(name, str) and name != "_self_"]
    return {key: value for name in names for key, value in _keys(group, name).items()} | own


def choices(config: dict) -> dict[str, str]:
    """Return {group: word} of what is built of the configuration: {"model": "vmf", ...}."""
    return {
        group: chosen(config, group)
        for group, values in config.items()
        if isinstance(values, dict) and "_target_" in values
    }
