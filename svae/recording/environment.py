"""What the environment says of W&B: in which mode, with whose key, and values that it refuses."""

import netrc
import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlparse

from omegaconf import DictConfig, OmegaConf

from svae.configuration.schema import KEYS, expected, takes

# as W&B's own settings have them, but for `shared`, by which several write one run
_MODES = {
    **{mode: mode for mode in ("online", "offline", "disabled")},
    **{"run": "online", "dryrun": "offline"},
}
# each with a key that takes the same values
_TEXTS = {
    "WANDB_PROJECT": "logger.project",
    "WANDB_ENTITY": "logger.entity",
    "WANDB_NAME": "logger.name",
    "WANDB_RUN_GROUP": "logger.name",
    "WANDB_JOB_TYPE": "logger.name",
}
RUN_ID = re.compile(r"[\w-]{1,64}", re.ASCII)  # it becomes part of paths
# continue another run than that of the folder
_BRANCHES = ("WANDB_FORK_FROM", "WANDB_RESUME_FROM")
_API_KEY = re.compile(r"([\w-]*-)?[\w-]{40,}|[\w-]+\.[\w-]+\.[\w-]+")
_SECRET = re.compile("KEY|TOKEN|HEADER|PROXY|URL")


def mode(asked: str) -> str:
    """Return online, offline or disabled; `auto` asks the environment and never a person."""
    if asked != "auto":
        return asked
    if given := os.environ.get("WANDB_MODE"):
        return _MODES.get(given, "offline")
    return "online" if has_key() else "offline"


def has_key() -> bool:
    """Return whether a key for the W&B server that is chosen is configured."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    file = Path(os.path.expanduser(os.environ.get("NETRC", "~/.netrc")))
    try:
        known = netrc.netrc(file)
        return any(known.authenticators(host) is not None for host in _hosts())
    except (ImportError, OSError, ValueError, netrc.NetrcParseError):
        return False


def _hosts() -> set[str | None]:
    """Return where W&B may keep a key: for the server that is chosen, else for its own ones."""
    import wandb

    servers = [os.environ.get("WANDB_BASE_URL")]
    if not servers[0]:  # the address has changed, and keys of before stand under the old one
        servers = ["https://api.wandb.ai", wandb.Settings().base_url]
    return {urlparse(server).hostname for server in servers}


def refuse_wrong(config: DictConfig, is_sweep: bool = False) -> None:
    """Refuse what W&B would not take of the environment: the log of the run would be lost.

    Nothing is refused, and nothing of W&B imported, where it is disabled.

    Raises:
        ValueError: one sentence that names the variable or the key.
    """
    logger = OmegaConf.to_container(config.logger, resolve=True)
    given = {k: v for k, v in os.environ.items() if k.startswith("WANDB_")}
    asked = logger["mode"] if logger["mode"] != "auto" else given.get("WANDB_MODE")
    if asked == "disabled":
        return
    _refuse_shared_id(given, config.trainer.get("replicas", 1), is_sweep)
    for name, value in sorted(given.items()):
        if wanted := _wanted(name, value):
            shown = name if _SECRET.search(name) else f"{name}={value}"
            raise ValueError(f"{shown}: {wanted}")
    for key, value in ((f"logger.{key}", value) for key, value in logger.items()):
        if not takes(key, value):  # of a run that goes on in another environment
            wanted = expected(KEYS[key].type)
            raise ValueError(f"{key}: the environment gives something else, expected {wanted}")
    if mode(logger["mode"]) == "online":
        _refuse_short(given.get("WANDB_API_KEY"))


def _refuse_shared_id(given: Mapping[str, str], replicas: int, is_sweep: bool) -> None:
    several = "--multirun" if is_sweep else f"trainer.replicas={replicas}"
    for name in ("WANDB_SWEEP_ID", "WANDB_RUN_ID"):
        if name in given and (is_sweep or replicas > 1):
            raise ValueError(
                f"{name}={given[name]}: is of one run and {several} makes several, of which each "
                f"would overwrite the one before, expected the command of one run, {name} not to "
                "be set, or logger.mode=disabled"
            )


def _refuse_short(key: str | None) -> None:
    if key and not _API_KEY.fullmatch(key):
        raise ValueError(
            "WANDB_API_KEY: expected 40 or more letters, digits, - and _, or logger.mode=offline"
        )


def _wanted(name: str, value: str) -> str | None:
    """Return what was expected of a variable, None where W&B takes its value."""
    if name == "WANDB_MODE":
        return None if value in _MODES else f"expected one of {', '.join(_MODES)}"
    if name == "WANDB_BASE_URL" and value and not value.startswith(("http://", "https://")):
        return "expected the address of a server, https://HOST"
    if name == "WANDB_RUN_ID":
        of_ids = "expected 1 to 64 letters, digits, - and _"
        return None if RUN_ID.fullmatch(value) else of_ids
    if name == "WANDB_TAGS":
        of_tags = "expected texts of 1 to 64 characters each, with commas between them"
        return None if takes("logger.tags", value.split(",")) else of_tags
    if name in _BRANCHES:
        return "is not supported, resume=FOLDER continues a run, expected it not to be set"
    if name in _TEXTS:
        key = _TEXTS[name]
        is_good = not value or takes(key, value)  # an empty one is none
        return None if is_good else f"expected {expected(KEYS[key].type).removesuffix(_NULL)}"
    return _refused_by_wandb(name, value)


_NULL = ", or null"


def _refused_by_wandb(name: str, value: str) -> str | None:
    import wandb
    from pydantic import ValidationError

    try:
        wandb.Settings().update_from_env_vars({name: value})
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
    except (ValueError, TypeError, wandb.errors.UsageError) as error:
        reason = " ".join(str(error).split())
    else:
        return None
    return f"W&B refuses it ({reason}), expected another value, or logger.mode=disabled"
