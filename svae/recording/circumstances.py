"""What a number may depend on besides the configuration."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

_PACKAGES = ("svae", "torch", "numpy", "hydra-core", "omegaconf", "wandb")


def circumstances(device: torch.device) -> dict:
    """Return device, versions and commit, as results.json has them."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    count = torch.get_num_threads()
    threads = "1 thread" if count == 1 else f"{count} threads"
    versions = {"python": platform.python_version(), **{p: _version(p) for p in _PACKAGES}}
    return {
        "device": f"{device.type} ({name}, {threads})",
        "versions": versions,
        "commit": _commit(),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # an uninstalled checkout
        return "unknown"


def _commit() -> str | None:
    """Return the git commit of the checkout that the program runs from, if it is one."""
    checkout = Path(__file__).parents[2]
    if not (checkout / ".git").exists():
        return None
    # "-dirty" where files were altered since
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        options = {"cwd": checkout, "capture_output": True, "text": True, "timeout": 10}
        return subprocess.run(command, check=True, **options).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
