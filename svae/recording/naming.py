"""What a run and its choices are called: vmf-d10-s0."""

import re

from svae.configuration import CONF


def run_name(config: dict) -> str:
    """Return the name of a run of this configuration: model, latent dimension and seed."""
    return f"{chosen(config, 'model')}-d{config['latent_dim']}-s{config['seed']}"


def chosen(config: dict, group: str) -> str:
    """Return the word that chooses what the configuration has for `group`, such as vmf.

    It is that of the first file with the same `_target_`; a class of a person's own keeps its name.
    """
    target = config[group]["_target_"]
    line = re.compile(rf"^ *_target_: *{re.escape(target)}\s*$", re.MULTILINE)
    for file in sorted((CONF / group).glob("*.yaml")):
        if line.search(file.read_text("utf-8")):
            return file.stem
    return target.rsplit(".", 1)[-1]
