"""A run as a row of the report: read from its folder, in full."""

import contextlib
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from svae.configuration import suggestions
from svae.configuration.schema import KEYS, expected, flatten, takes
from svae.distributions import VonMisesFisher
from svae.metrics.catalogue import number
from svae.recording import naming
from svae.recording.files import read_own
from svae.run import Run, Status


@dataclass(frozen=True)
class Entry:
    """A run as it was when the report read it.

    `typed` is what was typed for it; `settings` are the values of all keys by which runs are told
    apart. `acceptance` are the (expected, observed) rates of its sampler over the test set, None
    where no proposal was ever rejected. `damage` says what could not be read of it, and why.
    """

    run: Run
    name: str
    status: Status
    seconds: float
    value: float | None  # which stands for it in one line
    objective: str
    chosen: dict[str, str]  # data set and model by name
    config: dict
    history: list[dict[str, float]]
    results: dict
    typed: dict[str, str]
    acceptance: tuple[float, float] | None
    damage: list[str]
    settings: dict[str, str] = field(default_factory=dict)

    def picture(self, name: str) -> bytes:
        """Return a picture of the run, nothing where it has none or it is anything else."""
        with contextlib.suppress(OSError):
            content = read_own(self.run.path, f"plots/{name}.png")
            return content if content.startswith(b"\x89PNG\r\n\x1a\n") else b""
        return b""


def read(run: Run) -> Entry:
    """Read all of a run.

    Raises:
        ValueError: when a file of it is damaged, but for its latents.
    """
    config, headline = run.config, run.headline
    try:
        chosen = {group: naming.chosen(config, group) for group in ("dataset", "model")}
        objective = str(config["objective"])
    except (LookupError, TypeError, AttributeError):
        file = run.path / "config.yaml"
        raise ValueError(f"{file}: expected the configuration of a run") from None
    _check_values(config, run.path / "config.yaml")
    lines = (line.lstrip("+~").partition("=") for line in run.overrides)
    results, acceptance, damage = run.results, None, []
    try:
        acceptance = _acceptance_rates(run, chosen["model"], results)
    except ValueError as error:
        damage.append(str(error))
    entry = Entry(
        run=run,
        name=run.name,
        status=run.status,
        seconds=run.seconds,
        value=headline[1] if headline else None,
        objective=objective,
        chosen=chosen,
        config=config,
        history=run.history,
        results=results,
        typed={key: value for key, _, value in lines},
        acceptance=acceptance,
        damage=damage,
    )
    words = (config, entry.results, entry.typed, entry.status.error)
    try:
        json.dumps(words, ensure_ascii=False, skipkeys=True, default=str).encode()
    except UnicodeError:
        raise ValueError(f"{run.path}: holds text that is no Unicode") from None
    return entry


def _check_values(config: dict, file: Path) -> None:
    """Check that no list stands in a configuration where its key takes none.

    Raises:
        ValueError: when one does: the runs would be grouped by it as if it was a value.
    """
    for key, value in flatten(config).items():
        if isinstance(value, list) and key in KEYS and not takes(key, value):
            wanted = expected(KEYS[key].type)
            raise ValueError(f"{file}: {key}={suggestions.shown(value):.60}: expected {wanted}")


def _acceptance_rates(run: Run, model: str, results: dict[str, Any]) -> tuple[float, float] | None:
    """Return (expected, observed) over the test set; None where no proposal was ever rejected.

    Both are draws per proposal: 1 over the mean number of proposals. The closed form is that of the
    package's own family.

    Raises:
        ValueError: when the latents are damaged, or no posteriors of that family.
    """
    observed = number(results.get("test/acceptance_rate"))
    if observed in (None, 1.0) or model != "vmf" or not (latents := run.latents):
        return None
    try:
        loc, kappa = (torch.from_numpy(latents[name]) for name in ("loc", "concentration"))
        rates = VonMisesFisher(loc, kappa, validate_args=False).expected_acceptance_rate
        expected = 1 / (1 / rates.double()).mean().item()
    except (LookupError, TypeError, ValueError, RuntimeError, ZeroDivisionError):
        expected = math.nan
    if not math.isfinite(expected):
        file = run.path / "latents.npz"
        raise ValueError(f"{file}: expected loc and concentration of von Mises-Fisher posteriors")
    return expected, observed
