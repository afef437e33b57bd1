"""The sweeper of a grid: Hydra takes it by its public interface, and composes each job once."""

import importlib
import sys
from types import SimpleNamespace

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from svae.cli import grid, main


def _jobs(*lines):
    return grid.jobs(grid.values(OverridesParser.create().parse_overrides(list(lines))))


def test_the_values_typed_last_vary_fastest_and_replace_what_a_preset_sweeps():
    assert _jobs("seed=0,1", "model=normal,vmf", "plots=false") == [
        ["seed=0", "model=normal", "plots=False"],
        ["seed=0", "model=vmf", "plots=False"],
        ["seed=1", "model=normal", "plots=False"],
        ["seed=1", "model=vmf", "plots=False"],
    ]
    assert _jobs("seed=0,1", "seed=7") == [["seed=7"]]
    assert _jobs("logger.name='a,b'", "seed=range(2)")[1] == ["logger.name='a,b'", "seed=1"]


@pytest.mark.parametrize(("name", "composed"), [("grid", 4), ("basic", 8)])
def test_each_job_is_composed_once_as_its_launcher_starts_it(tmp_path, monkeypatch, name, composed):
    compositions, seen = [], []
    load = ConfigLoaderImpl.load_sweep_config

    def counted(*arguments, **named):
        compositions.append(named)
        return load(*arguments, **named)

    monkeypatch.setattr(ConfigLoaderImpl, "load_sweep_config", counted)
    monkeypatch.setattr(sys, "argv", ["svae-train"])
    monkeypatch.chdir(tmp_path)
    main._register_sweeper()
    lines = ["-m", f"hydra/sweeper={name}", "model=normal,vmf", "seed=0,1", "hydra.sweep.dir=s"]
    main._hydra(lines, lambda config: seen.append((config.seed, config.model._target_[-12:])))
    assert seen == [(n, family) for family in ("NormalFamily", "FisherFamily") for n in (0, 1)]
    # Hydra's own composes all of them once more before it starts the first
    assert len(compositions) == composed
    assert (tmp_path / "s" / "multirun.yaml").is_file()


def test_the_record_of_a_sweep_is_not_written_through_a_link(tmp_path):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "multirun.yaml").symlink_to(tmp_path / "precious")
    main._register_sweeper()
    sweeper = importlib.import_module("hydra_plugins.svae_sweeper").GridSweeper()
    sweeper.config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}})
    sweeper._context = SimpleNamespace(config_loader=None)
    sweeper._launcher = SimpleNamespace(launch=lambda jobs, initial_job_idx: [])
    assert sweeper.sweep(["seed=0,1"]) == []
    assert (tmp_path / "precious").read_text() == "precious"
    assert not (tmp_path / "multirun.yaml").is_symlink()
