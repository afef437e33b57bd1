"""A run folder is trusted with nothing: what it says is values, and names of this package only."""

import base64
import builtins
import csv
import json
import os
import shlex
import sys
import threading
from functools import reduce

import numpy as np
import pytest
import torch
import yaml
from hydra._internal.utils import get_args_parser
from omegaconf import OmegaConf

import svae
from svae import build
from svae.cli import plan
from svae.configuration import trusted
from svae.configuration.messages import HYDRA_ERRORS, Refused, sentence
from svae.recording.claim import claim
from svae.recording.folder import INTERRUPTED, RunFolder
from svae.recording.saved import reopened, saved_config, saved_overrides, settled
from svae.recording.wandb import _run_id
from svae.report import summary
from tests.support.swept import CONFIG, OVERRIDES, begin, composed

MARK = "THE-MARK-OF-AN-ATTACK"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A run that was interrupted, in the folder that one stands in; with a secret about."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECRET", MARK)
    monkeypatch.setattr(builtins, "attacked", [], raising=False)
    begin(tmp_path / "r", INTERRUPTED)
    return tmp_path / "r"


def _said(line: str) -> str:
    """Return what a person sees who types `line`: the refusal, or nothing."""
    try:
        planned = plan.plan(get_args_parser().parse_intermixed_args(shlex.split(line)))
        if isinstance(planned, plan.Single):
            model = planned.config.model
            build._instantiate(model, "model", latent_dim=planned.config.latent_dim)
            build.data(planned.config)
    except (Refused, ValueError) as error:
        return str(error)
    except HYDRA_ERRORS as error:
        return sentence(error)
    return ""


def _write(folder, changes):
    values = yaml.safe_load((folder / "config.yaml").read_text())
    for key, value in changes.items():
        group, _, leaf = key.rpartition("/")
        (values[group] if group else values)[leaf] = value
    (folder / "config.yaml").write_text(yaml.safe_dump(values, sort_keys=False))


def _evil(tmp_path):
    """Return the name of what an attack wants to be run: it leaves a mark, imported or called."""
    (tmp_path / "evil.py").write_text(
        "import builtins\nbuiltins.attacked.append('imported')\n"
        "def run(*_, **__):\n    builtins.attacked.append('called')\n"
    )
    sys.path.insert(0, str(tmp_path))
    return "evil.run"


STUDY = {"_target_": "torch.load", "f": "x.pt", "weights_only": False, "reads": []}
# what the record says: the change of config.yaml, and words of the answer
CONFIGS = {
    "a class of others": ({"model": {"_target_": "evil.run"}}, "_target_ evil.run is no class"),
    "a function of a module of ours": (
        {"model/_target_": "svae.data.array.zipfile.os.system"},
        "is no class that this package configures",
    ),
    "a reader of pickles of ours": (
        {"dataset": {"_target_": "svae.data.planetoid.read", "folder": "."}},
        "_target_ svae.data.planetoid.read is no class",
    ),
    "a study that is none": ({"study": STUDY}, "_target_ torch.load is no class"),
    "a name put together of pieces": (
        {
            "seed": 0,
            "threads": None,
            "model": {"_target_": "evil.${precision}"},
            "precision": "run",
        },
        "_target_ evil.run is no class",
    ),
    "a name from another key": (
        {"model/_target_": "${logger.name}", "logger/name": "evil.run"},
        "_target_ evil.run is no class",
    ),
    "a node that a resolver makes": (
        {"model": "${oc.create:{_target_:evil.run}}"},
        "model: ${oc.create:{_target_:evil.run}} is not allowed in a run folder",
    ),
    "a node from another node": ({"model": "${study}", "study": STUDY}, "is not allowed in a run"),
    "a deeper class of others": (
        {"model/prior": {"deep": [{"_target_": "evil.run"}]}},
        "_target_ evil.run is no class",
    ),
    "the environment in a number": (
        {"latent_dim": "${oc.env:SECRET}"},
        "latent_dim: ${oc.env:SECRET} is not allowed in a run folder",
    ),
    "the environment by way of a path": (
        {"dataset/root": "${oc.env:SECRET}", "precision": "${dataset.root}"},
        "precision: ${dataset.root} is not allowed in a run folder",
    ),
    "the environment put together": (
        {"logger/name": "$", "logger/project": "${logger.name}{oc.env:SECRET}"},
        "logger.project: ${logger.name}{oc.env:SECRET} is not allowed",
    ),
    "the environment in a path that is not there": (
        {"dataset": {"_target_": "svae.data.array.load", "file": "${oc.env:SECRET}/x.npz"}},
        "dataset.file=${oc.env:SECRET}/x.npz: expected a readable file",
    ),
    "the environment in a folder that is not there": (
        {"dataset/root": "${oc.env:SECRET}"},
        "${oc.env:SECRET}",
    ),
    "a reference to itself": ({"latent_dim": "${latent_dim}"}, "latent_dim: ${latent_dim} is not"),
    "references in a circle": (
        {"latent_dim": "${precision}", "precision": "${latent_dim}"},
        "is not allowed in a run folder",
    ),
    "a reference to where it stands": ({"latent_dim": "${.seed}"}, "latent_dim: ${.seed} is not"),
    "a resolver in a resolver": (
        {"logger/name": "${oc.env:${oc.env:SECRET}}"},
        "logger.name: ${oc.env:${oc.env:SECRET}} is not allowed",
    ),
    "Hydra's own keys": (
        {"hydra": {"searchpath": ["file://."], "run": {"dir": "/elsewhere"}}},
        "hydra.searchpath: no such key",
    ),
    "a later version": ({"format": 99}, "format 99, and this version of svae reads up to"),
}


@pytest.mark.parametrize("name", ["resume", "evaluate"])
@pytest.mark.parametrize(("changes", "words"), CONFIGS.values(), ids=CONFIGS)
def test_a_record_of_attack_is_answered_and_runs_nothing(folder, name, changes, words):
    _evil(folder.parent)
    _write(folder, changes)
    said = _said(f"{name}={folder}")
    assert words in said
    assert MARK not in said
    assert "\n" not in said
    assert builtins.attacked == []


# what was typed, as the folder says: none of it is composed again
TYPED = [
    "experiment=../../../../../../../../../proc/self/cwd/r/.hydra/e",
    "hydra.searchpath=[file://r/.hydra]",
    "+hydra.job.env_set.PATH=x",
    "++hydra.launcher._target_=evil.run",
    "+trainer@hydra.launcher=minibatch",
    "model._target_=evil.run",
    "+model.x={_target_:evil.run}",
    "study.reads=[dataset,model]",
]


@pytest.mark.parametrize("line", TYPED)
def test_saved_overrides_are_words_to_show(folder, line):
    _evil(folder.parent)
    (folder / ".hydra" / "e.yaml").write_text(
        "# @package _global_\nstudy:\n  _target_: evil.run\n  reads: [study]\n"
    )
    OmegaConf.save(OmegaConf.create([*OVERRIDES, line]), folder / ".hydra" / "overrides.yaml")
    assert _said(f"resume={folder}") == ""
    assert saved_overrides(folder)[-1] == line
    planned = plan.plan(get_args_parser().parse_args([f"resume={folder}"]))
    assert (planned.verb, planned.overrides) == ("resume", [])
    assert planned.config.study is None
    assert builtins.attacked == []


@pytest.mark.parametrize("state", [INTERRUPTED, "failed"])
def test_a_sweep_that_goes_on_trusts_no_folder_of_a_job(tmp_path, folder, state):
    _evil(tmp_path)
    begin(tmp_path / "s" / "0", state)
    _write(tmp_path / "s" / "0", {"model": {"_target_": "evil.run"}})
    with pytest.raises(ValueError, match=r"_target_ evil\.run is no class"):
        claim(tmp_path / "s" / "0", CONFIG, OVERRIDES, searches=False)
    words = " ".join(line for line in OVERRIDES if not line.startswith("latent_dim"))
    line = f"-m latent_dim=3,4 {words} hydra.sweep.dir={tmp_path}/s"
    _said(line)
    assert builtins.attacked == []


def test_what_is_loaded_names_no_class_of_others(tmp_path, folder):
    _evil(tmp_path)
    with torch.serialization.skip_data():
        torch.save({"features": 4, "likelihood": "bernoulli", "epoch": 1}, tmp_path / "best.pt")
    (folder / "checkpoints" / "best.pt").write_bytes((tmp_path / "best.pt").read_bytes())
    for changes, words in (
        ({"model": {"_target_": "evil.run"}}, "evil.run is no class"),
        (
            {"model": "${oc.create:{_target_:evil.run}}"},
            "is not allowed in a run folder",
        ),
    ):
        _write(folder, changes)
        with pytest.raises(ValueError, match="is no") as refused:
            svae.load(folder)
        assert words in str(refused.value)
    assert builtins.attacked == []


def test_a_pickle_runs_neither_as_checkpoint_nor_as_latents(folder):
    class Bomb:
        def __reduce__(self):
            return builtins.attacked.append, ("unpickled",)

    torch.save({"model": Bomb()}, folder / "checkpoints" / "best.pt")
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        svae.load(folder)
    np.savez(folder / "latents.npz", loc=np.array([Bomb()], dtype=object))
    (folder / "status.json").write_text('{"state": "finished", "epoch": 2, "error": null}')
    (folder / "results.json").write_text("{}")
    summary.make([folder.parent])
    assert builtins.attacked == []


def test_a_report_resolves_nothing_of_a_folder(folder, capsys):
    (folder / "results.json").write_text(json.dumps({"test/elbo": -1.0}))
    (folder / "status.json").write_text('{"state": "finished", "epoch": 2, "error": null}')
    _write(folder, {"dataset/root": "${oc.env:SECRET}", "latent_dim": 3})
    lines = [*OVERRIDES, "dataset.root=${oc.env:SECRET}", "model._target_=evil.run"]
    OmegaConf.save(OmegaConf.create(lines), folder / ".hydra" / "overrides.yaml")
    summary.make([folder.parent])
    written = [file.read_text() for file in folder.parent.glob("*.*")]
    assert MARK not in "".join([*written, *capsys.readouterr()])
    (row,) = csv.DictReader((folder.parent / "summary.csv").read_text().splitlines())
    assert row["dataset.root"] == "${oc.env:SECRET}"


def test_a_folder_that_is_vouched_for_brings_its_names_and_no_others(tmp_path, folder):
    own = tmp_path / "my own"
    (own / "model").mkdir(parents=True)
    (own / "model" / "mine.yaml").write_text("_target_: evil.run\n")
    _evil(tmp_path)
    _write(folder, {"model": {"_target_": "evil.run"}})
    with trusted.vouching(str(own)):  # one folder, too
        assert reopened(folder, {}).model._target_ == "evil.run"
        assert not trusted.is_trusted("os.system")
    with pytest.raises(ValueError, match="vouch for it by --config-dir DIR"):
        reopened(folder, {})
    with trusted.vouching(typed=["model._target_=evil.run", "seed=1"]):
        assert trusted.is_trusted("evil.run")


@pytest.mark.parametrize("typed", [("experiment=gradient_study",), ("dataset=sphere_graph",), ()])
def test_what_this_program_writes_is_settled_to_what_omegaconf_gives(tmp_path, typed):
    config = composed(*typed)
    values = OmegaConf.to_container(config, resolve=False)
    found = OmegaConf.create(settled(values, tmp_path))
    assert OmegaConf.to_container(found, resolve=True) == OmegaConf.to_container(
        config, resolve=True
    )


def test_a_reference_to_the_seed_stays_one_for_replicas(folder):
    _write(folder, {"dataset/split": "${seed}", "logger/name": "run-${seed}"})
    config = saved_config(folder)
    config.seed = 7
    assert (config.dataset.split, config.logger.name) == (7, "run-0")


def test_a_run_below_a_folder_that_is_vouched_for_vouches_for_nothing(tmp_path, folder):
    own = tmp_path / "own"
    (own / "trainer").mkdir(parents=True)
    (own / "trainer" / "short.yaml").write_text("defaults: [minibatch]\n")
    _evil(tmp_path)
    for place in ("outputs/evil", "trainer/evil"):
        begin(own / place, INTERRUPTED)
        _write(own / place, {"model": {"_target_": "evil.run"}})
        said = _said(f"--config-dir {own} resume={own / place}")
        assert "evil.run is no class" in said
        with trusted.vouching([own]):
            assert not trusted.is_trusted("evil.run")
    with trusted.vouching([folder]):  # a run folder itself
        assert not trusted.is_trusted("evil.run")


@pytest.mark.parametrize(
    "name", ["config.yaml", ".hydra/overrides.yaml", "metrics.csv", "results.json", "status.json"]
)
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_files_that_lie_elsewhere_are_not_read(folder, tmp_path, name, kind, capsys):
    (tmp_path / "secret").write_text(MARK)
    (folder / name).unlink(missing_ok=True)
    if kind == "link":
        (folder / name).symlink_to(tmp_path / "secret")
    else:
        os.mkfifo(folder / name)
    with pytest.raises(ValueError, match=r"expected|links are not") as refused:
        summary.make([folder])
    _said(f"resume={folder}")
    assert MARK not in "".join([str(refused.value), *capsys.readouterr()])


def test_a_report_embeds_no_file_of_elsewhere_and_escapes_all_names(folder, tmp_path):
    (folder / "results.json").write_text(json.dumps({"test/elbo": -1.0}))
    (folder / "status.json").write_text('{"state": "finished", "epoch": 2, "error": null}')
    script = 'x"><script>alert(1)</script>'
    name = script.replace('"', '""')
    (folder / "metrics.csv").write_text(f'epoch,"{name}",seconds\n1,2,3\n2,3,4\n')
    _write(folder, {"seed": script, "latent_dim": script, "objective": script})
    (folder / "plots").mkdir()
    (tmp_path / "secret").write_text(MARK)
    (folder / "plots" / "samples.png").symlink_to(tmp_path / "secret")
    summary.make([folder])
    page = (folder / "report.html").read_text()
    assert base64.b64encode(MARK.encode()).decode() not in page
    assert "<script" not in page
    (folder / "plots" / "samples.png").unlink()
    (folder / "plots" / "samples.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    summary.make([folder])
    page = (folder / "report.html").read_text()
    assert "alt=" in page
    assert "<script" not in page


@pytest.mark.parametrize(
    "values",
    [
        {"a0": "x" * 1000} | {f"a{n}": f"${{logger.a{n - 1}}}" * 2 for n in range(1, 26)},
        {"a0": "x"} | {f"a{n}": [f"${{logger.a{n - 1}}}"] * 2 for n in range(1, 28)},
        {"tags": [{"b": "${logger.tags}"}]},
        {"tags": reduce(lambda inner, _: [inner], range(40), "${logger.tags}")},
    ],
    ids=["text", "lists", "circle", "deep circle"],
)
def test_references_fill_neither_memory_nor_time(folder, values):
    _write(folder, {f"logger/{key}": value for key, value in values.items()})
    assert "is not allowed in a run folder" in _said(f"resume={folder}")


def test_the_folder_of_a_job_and_the_settings_of_wandb_lie_in_no_other(tmp_path, folder):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "0").symlink_to(folder)
    with pytest.raises(ValueError, match="is a link, expected the folder of a job"):
        claim(tmp_path / "s" / "0", CONFIG, OVERRIDES, searches=False)
    (folder / "wandb").mkdir()
    (folder / "wandb" / "settings").write_text("[default]\nbase_url = http://127.0.0.1:1\n")
    with pytest.raises(ValueError, match="wandb/settings: is not allowed in a run folder"):
        RunFolder.reopen(folder)
    (tmp_path / "token").write_text("token")
    (folder / "wandb" / "run-id").symlink_to(tmp_path / "token")
    assert _run_id(folder, None) != "token"


@pytest.mark.parametrize("file", ["/proc/self/environ", "/proc/self/../self/environ", "link"])
def test_what_the_system_shows_of_memory_is_no_file_of_data(folder, file):
    (folder.parent / "link").symlink_to("/proc/self/environ")
    expected = f"dataset.file={file}: expected a readable file, found none"
    assert _said(f"dataset=array dataset.file={file}") == expected
    _write(folder, {"dataset": {"_target_": "svae.data.array.load", "file": file}})
    assert _said(f"resume={folder}") == expected


def test_a_secret_of_several_lines_is_not_shown(folder, monkeypatch):
    monkeypatch.setenv("SECRET", f"{MARK}\nsecond {MARK}")
    _write(folder, {"dataset": {"_target_": "svae.data.mnist.load", "root": "${oc.env:SECRET}"}})
    said = _said(f"resume={folder}")
    assert "${oc.env:SECRET}" in said
    assert MARK not in said


def test_a_thread_trusts_whom_it_vouches_for_and_no_other(tmp_path):
    def within(name, entered, leave):
        with trusted.vouching(typed=[f"model._target_={name}"]):
            entered.set()
            leave.wait(5)
            found[name] = [trusted.is_trusted(own) for own in ("mine.A", "mine.B")]

    found, events = {}, [threading.Event() for _ in range(4)]
    first = threading.Thread(target=within, args=("mine.A", *events[:2]))
    second = threading.Thread(target=within, args=("mine.B", *events[2:]))
    for thread, (entered, _) in ((first, events[:2]), (second, events[2:])):
        thread.start()
        entered.wait(5)
    for thread, leave in ((first, events[1]), (second, events[3])):
        leave.set()
        thread.join()
    assert found == {"mine.A": [True, False], "mine.B": [False, True]}
    assert not trusted.is_trusted("mine.A")
