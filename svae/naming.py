"""What a run is called: vmf-d10-s0."""

import re

from svae.record import CONF


def run_name(config: dict) -> str:
    """Return the name of a run of this configuration: model, latent dimension and seed."""
    return f"{model_name(config)}-d{config['latent_dim']}-s{config['seed']}"


def model_name(config: dict) -> str:
    """Return the word that chooses this configuration's model, such as vmf.

    A model of a person's own is called by its class.
    """
    target = config["model"]["_target_"]
    for file in sorted((CONF / "model").glob("*.yaml")):
        if re.search(rf"^_target_: *{re.escape(target)}\s*$", file.read_text(), re.MULTILINE):
            return file.stem
    return target.rsplit(".", 1)[-1]
