"""What is typed wrong is refused in one sentence that names the value, before anything is made."""

import copy
import re
import shlex
from argparse import Namespace
from functools import cache
from multiprocessing.pool import ThreadPool

import pytest
from hydra._internal.utils import get_args_parser

from svae.cli import plan, sweeps
from svae.cli.sweeps import Jobs, Sweep
from svae.configuration import compose, messages, schema
from svae.configuration.schema import flatten
from svae.recording.folder import RunFolder

REFUSED = [
    (
        "model=vfm",
        "power_spherical, product, scaled_vmf, spherical_cauchy, vmf; did you mean vmf?",
    ),
    ("dataset=mnsit", "did you mean mnist?"),
    ("experiment=none_such", "experiment=none_such: expected one of"),
    ("hydra/launcher=foo", "hydra/launcher=foo: expected one of"),
    ("latent_dimm=3", "latent_dimm: no such key; did you mean latent_dim?"),
    ("latentdim=3", "did you mean latent_dim?"),
    ("trainer.max_epoch=3", "trainer.max_epoch: no such key; did you mean trainer.max_epochs?"),
    ("max_epochs=3", "did you mean trainer.max_epochs?"),
    ("lr=1e-3", "lr: no such key; did you mean trainer.learning_rate?"),
    ("trainer.lr=1e-3", "trainer.lr: no such key; did you mean trainer.learning_rate?"),
    ("precision=bfloat16", "expected one of float32, bf16; did you mean bf16?"),
    ("dataset=MNIST", "did you mean mnist?"),
    ("+foo=3", "foo: no such key"),
    ("+study.x=1", "study: has no _target_, expected experiment=NAME, which chooses a study"),
    ("network.hidden=[99999999999999999999]", "expected a list of whole numbers from 1 up"),
    ("+trainer.foo=3", "trainer.foo: no such key"),
    ("~latent_dim", "latent_dim: is missing"),
    ("~model", "model: expected keys under it"),
    ("model=null", "model=null"),
    ("trainer=3", "trainer=3"),
    ("latent_dim=0", "latent_dim=0: expected a whole number from 1 up"),
    ("latent_dim=-2", "latent_dim=-2"),
    ("latent_dim=ten", "latent_dim=ten"),
    ("latent_dim=2.5", "latent_dim=2.5"),
    ("latent_dim=true", "latent_dim=true"),
    ("latent_dim=null", "latent_dim=null"),
    ("latent_dim=[2]", "latent_dim=[2]"),
    ("latent_dim={a:1}", "latent_dim.a: no such key"),
    ("latent_dim=2,5", "needs --multirun"),
    ("latent_dim=[", "cannot be read"),
    ("latent_dim", "cannot be read"),
    ("latent_dim=${foo}", "foo"),
    ("dataset.root=${oc.env:SVAE_NOT_SET}", "SVAE_NOT_SET"),
    ("seed=-1", "seed=-1: expected a whole number from 0 up"),
    ("device=gpu", "device=gpu: expected auto, cpu, cuda or cuda:N; did you mean cuda?"),
    ("device=cuda:x", "device=cuda:x"),
    ("precision=fp16", "precision=fp16: expected one of float32, bf16"),
    ("threads=0", "threads=0"),
    ("model.initial_concentration=1", "model.initial_concentration=1: expected a number above 1"),
    ("model.initial_concentration=1e9", "expected a number above 1 and below 1e8"),
    ("model.initial_concentration=1e30", "expected a number above 1 and below 1e8"),
    ("model.initial_concentration=inf", "expected a number above 1 and below 1e8"),
    ("model.initial_concentration=n", "model.initial_concentration=n: expected a number above 1"),
    ("model.isotropic=true", "model.isotropic: no such key for this model"),
    ("model=normal model.isotropic=1", "model.isotropic=1: expected true or false"),
    ("model=normal model.initial_concentration=m", "no such key for this model"),
    ("objective=val/auk", "objective=val/auk"),
    ("plots=maybe", "plots=maybe: expected true or false"),
    ("trainer.batch_size=-1", "trainer.batch_size=-1: expected a whole number from 1 up"),
    ("trainer.learning_rate=0", "trainer.learning_rate=0: expected a number above 0"),
    ("trainer.learning_rate=nan", "trainer.learning_rate=nan"),
    ("trainer.learning_rate=inf", "trainer.learning_rate=inf"),
    ("trainer.warmup_epochs=-1", "trainer.warmup_epochs=-1"),
    ("trainer.patience=0", "trainer.patience=0"),
    ("trainer.kl_weight=-1", "trainer.kl_weight=-1"),
    ("trainer.samples=0", "trainer.samples=0"),
    ("trainer.replicas=0", "trainer.replicas=0: expected a whole number from 1 to 1024"),
    ("trainer.replicas=2 trainer.compile=true", "trainer.replicas=2: several models in one step"),
    ("experiment=sampler_check trainer.replicas=2", "trainer.replicas=2: a study trains nothing"),
    ("dataset=cora trainer.replicas=2", "trainer.replicas: no such key here, it is for vectors"),
    ("evaluation.importance_samples=0", "evaluation.importance_samples=0"),
    ("evaluation=null", "evaluation=null"),
    ("dataset=core", "dataset=core: expected one of"),
    ("dataset=core", "did you mean cora?"),
    ("dataset=cora trainer=minibatch", "dataset.negatives: needs trainer.negatives"),
    (
        "dataset=cora trainer.batch_size=5",
        "trainer.batch_size: no such key here, it is for vectors",
    ),
    ("dataset=cora evaluation.importance_samples=5", "importance_samples: no such key here, "),
    ("dataset=cora trainer.negatives=some", "trainer.negatives=some: expected one of all, sampled"),
    ("dataset=cora network.dropout=1", "network.dropout=1: expected a number from 0 to below 1"),
    ("dataset=cora experiment=table1", "evaluation.samples is for graphs and"),
    ("dataset=cora sampler.gradient=score sampler.baseline=mean", "a graph is one"),
    (
        "trainer=full_graph",
        "trainer.mask_edges is for graphs and evaluation.batch_size for vectors",
    ),
    ("dataset=graph dataset.file=/no/such", "expected a readable file or a folder, found none"),
    ("dataset=graph", "dataset.file: expected dataset.file=FILE"),
    ("dataset=array dataset.file=/tmp", "dataset.file=/tmp: expected a readable file, found none"),
    ("dataset=cora trainer.mask_edges=1", "mask_edges=1: expected a number from 0 to below 1"),
    ("dataset=cora network=linear network.spread=age", "of resultant, linear, length, degree"),
    ("dataset=cora network=linear model.initial_concentration=9", "expected network.spread=linear"),
    ("dataset=cora network=linear model=power_spherical model.link=exp", "where neighbours decide"),
    ("trainer.mask_edges=0.5", "trainer.mask_edges: no such key here, it is for graphs"),
    ("objective=val/auc", "objective=val/auc: only graphs have links to rank"),
    ("logger.mode=onlin", "did you mean online?"),
    ("logger.tags=a", "logger.tags=a: expected a list of texts"),
    ("logger=foo", "logger=foo: expected one of wandb"),
    ("logger.images_every=2 plots=false", "logger.images_every=2: plots=false draws none"),
    ("experiment=sampler_check logger.artifacts=true", "logger.artifacts=true: a study trains"),
    ("network.hidden=[]", "network.hidden=[]: expected a list"),
    ("network.hidden=[256,0]", "network.hidden=[256, 0]"),
    ("sampler=magic", "sampler=magic: expected one of inversion, rejection"),
    ("sampler.gradient=magic", "sampler.gradient=magic: expected one of implicit"),
    ("sampler.baseline=mean", "no score term"),
    ("sampler.gradient=score sampler.baseline=leave_one_out", "needs trainer.samples from 2 up"),
    ("trainer.bound=iwea trainer.samples=2", "did you mean iwae?"),
    ("trainer.bound=iwae", "trainer.bound=iwae: of one sample is the ELBO, expected trainer.sampl"),
    ("trainer.bound=iwae trainer.samples=2 sampler.gradient=score", "has a score term"),
    ("objective=val/iwae", "objective=val/iwae: only trainer.bound=iwae measures it"),
    ("dataset=cora objective=val/iwae", "objective=val/iwae: only trainer.bound=iwae measures it"),
    ("experiment=gradient_study trainer.bound=iwae trainer.samples=2", "are about the ELBO"),
    ("dataset=cora trainer.bound=iwae", "trainer.bound: no such key here, it is for vectors"),
    ("dataset=cora network.unit_variance=true", "network.unit_variance: no such key for this netw"),
    ("network.unit_variance=1", "network.unit_variance=1: expected true or false"),
    ("sampler=inversion latent_dim=2 sampler.gradient=corrected", "rejects nothing"),
    ("model=normal sampler.gradient=score", "this model has no sampler"),
    ("model=power_spherical sampler=inversion", "this model has no sampler"),
    ("model=normal network.unit_variance=true", "no effect on a Gaussian"),
    ("dataset=array", "dataset.file: expected dataset.file=FILE"),
    ("dataset=array dataset.file=x dataset.likelihood=poison", "dataset.likelihood=poison"),
    ("dataset=array dataset.file=x dataset.test_fraction=1", "dataset.test_fraction=1"),
    ("resume=/nowhere", "resume=/nowhere: no such folder"),
    ("evaluate=/nowhere", "evaluate=/nowhere: no such folder"),
    ("resume=/a evaluate=/b", "give one of the two"),
    ("-m resume=/a", "without --multirun"),
    ("-m seed=0,1 trainer.replicas=2", "seed 1 is that of another job"),
    ("-m seed=3,2 trainer.replicas=2,1 latent_dim=2,3", "seed 3 is that of another job"),
    ("-m model=vfm,normal", "model=vfm: expected one of"),
    ("-m latent_dim=2,0", "latent_dim=0: expected a whole number"),
    ("-m seed=range(1,2,0)", "seed=range(1,2,0): range() arg 3 must not be zero"),
    ("-m seed=range(2,1)", "seed=range(2,1): no value, expected 1 to 10000"),
    ("-m seed=range(99999999)", "more than 10000 values, expected 1 to 10000"),
    ("-m seed=range(200) latent_dim=range(1,101)", "--multirun: 20000 runs, expected at most"),
    ("'latent_dim\nx=3'", "latent_dim x=3: cannot be read"),
    ("'logger.mode=\"a\nb\"'", "logger.mode=a b: expected one of auto"),
    ("~" + "a." * 300 + "b", "File name too long"),
    ("-m model=normal,power_spherical sampler.gradient=score", "this model has no sampler"),
    ("-m seed=0,1 hydra.sweep.dir=/proc/x", "/proc/x: cannot be written"),
    ("--config-dir /nowhere", "--config-dir /nowhere: expected a folder"),
    ("experiment=sampler_check latent_dim=3", "latent_dim=3: has no effect on this study"),
    ("experiment=sampler_check study.sampels=3", "did you mean study.samples?"),
    ("experiment=sampler_check study.concentrations=[0]", "a list of numbers above 0"),
    ("study.samples=300", "study.samples"),
    (
        "dataset=directions dataset.file=/etc/hosts",
        "dataset.unit=null: expected one of degrees, radians, vectors with dataset.file",
    ),
    ("dataset=directions dataset.unit=turns", "dataset.unit=turns: expected one of degrees"),
    ("hydra.foo=1", "hydra.foo: no such key"),
    ("+hydra.job.env_set.A=1", "hydra.job.env_set: only the jobs of a sweep have them"),
]


def _parse(line: str) -> Namespace:
    return get_args_parser().parse_intermixed_args(shlex.split(line))


def _refusal(line: str) -> str:
    try:
        plan.plan(_parse(line))
    except messages.Refused as refusal:
        return str(refusal)
    except messages.HYDRA_ERRORS as error:
        return messages.sentence(error)
    return ""


@pytest.mark.parametrize(("line", "words"), REFUSED, ids=[line for line, _ in REFUSED])
def test_refused(line, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = _refusal(line)
    assert words in text
    assert "\n" not in text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "line",
    [
        "",
        "model=normal latent_dim=40 seed=0",
        "sampler=inversion latent_dim=2",
        "sampler.gradient=corrected sampler.baseline=mean",
        "experiment=table1 trainer.max_epochs=5",
        "logger.tags=[a,b] threads=2 device=cuda:1",
        "model.initial_concentration=m",
        "model=power_spherical model.initial_concentration=2",
        "model=normal model.isotropic=true",
        "trainer.bound=iwae trainer.samples=5 sampler.gradient=pathwise network.unit_variance=true",
        "trainer.bound=iwae trainer.samples=2 objective=val/iwae",
        "experiment=importance_weighted model=normal",
        "network.hidden=[64]",
        "trainer.learning_rate=1 trainer.kl_weight=0",
        "dataset=cora",
        "dataset=circle model=normal latent_dim=2",
        "dataset=directions dataset.likelihood=gaussian",
        "experiment=sampler_check study.dimensions=[3] seed=4 plots=false",
        "dataset=citeseer model=normal trainer.negatives=sampled objective=val/elbo",
        "dataset=pubmed sampler.gradient=score sampler.baseline=leave_one_out trainer.samples=2",
        "dataset=sphere_graph dataset.nodes=50 network.hidden=[32,16] network.dropout=0.5",
    ],
)
def test_accepted(line):
    assert _refusal(line) == ""


def test_a_folder_of_somebody_is_refused_before_the_data_are_read(tmp_path):
    (tmp_path / "plots").mkdir()
    words = f"{tmp_path}: holds plots and no run, expected a new or an empty folder"
    assert _refusal(f"hydra.run.dir={tmp_path}") == words


def test_a_sweep_gets_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = (plan.plan(_parse("-m seed=0,1")) for _ in range(2))
    assert isinstance(first, Sweep)
    assert first.folder != second.folder
    assert first.folder.parent.parent == tmp_path / "outputs" / "multirun"
    with ThreadPool(8) as pool:  # at the same instant
        folders = pool.map(sweeps._unused, [tmp_path / "same"] * 8)
    assert len(set(folders)) == 8


@pytest.mark.parametrize(
    ("line", "count"),
    [
        ("experiment=table1 seed=3", 10),
        ("experiment=table1 seed=3 latent_dim=2,7 model=vmf", 2),
        ("experiment=isotropic seed=0,1", 6),
        ("experiment=vanishing_surface seed=0", 12),
    ],
)
def test_a_preset_sweeps_what_is_not_typed(line, count, monkeypatch):
    jobs, check = [], Jobs._check

    def noted(self, found, lines):
        jobs.extend(found)
        check(self, found, lines)

    monkeypatch.setattr(Jobs, "_check", noted)
    Jobs(_parse(f"-m {line}"))
    assert len({tuple(sorted(job)) for job in jobs}) == len(jobs) == count
    keys = [override.split("=")[0] for override in jobs[0]]
    assert len(set(keys)) == len(keys)
    for typed in line.split():
        assert "," in typed or all(typed in job for job in jobs)


@pytest.mark.parametrize("name", ["resume", "evaluate"])
def test_the_folder_of_a_sweep_is_no_run(tmp_path, name):
    (tmp_path / "multirun.yaml").write_text("")
    text = _refusal(f"{name}={tmp_path}")
    assert text.startswith(f"{name}={tmp_path}: is the folder of a sweep; type its command again")
    assert f"hydra.sweep.dir={tmp_path}, " in text


def test_replicas_count_as_runs_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert plan.plan(_parse("-m seed=0,4 trainer.replicas=3")).runs == 6
    assert plan.plan(_parse("-m seed=0,3 latent_dim=2,3 trainer.replicas=3")).runs == 12


def test_a_sampler_override_is_noted_once_for_models_without_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    typed = "sampler.gradient=corrected", "network.unit_variance=true"
    plan.plan(_parse(f"-m model=normal,power_spherical,vmf {' '.join(typed)} seed=0,1"))
    shown = capsys.readouterr().out
    assert [shown.count(f"{line}: has no effect") for line in typed] == [1, 1]


def test_groups_of_a_persons_own(tmp_path):
    (tmp_path / "trainer").mkdir()
    (tmp_path / "trainer" / "short.yaml").write_text("defaults: [minibatch]\nmax_epochs: 7\n")
    line = f"--config-dir {tmp_path} trainer=short"
    assert _refusal(line) == ""
    assert _refusal("trainer=short").startswith(
        "trainer=short: expected one of full_graph, minibatch"
    )
    (tmp_path / "trainer" / "short.yaml").write_text("defaults: [minibatch]\nmax_epochs: many\n")
    assert _refusal(line).startswith("trainer.max_epochs=many: expected a whole number from 1 up")


def test_help_lists_the_options_that_hydra_knows(tmp_path):
    for name in ("dataset/own.yaml", "dataset/deep/below.yaml", "mine/a.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}\n")
    (tmp_path / "linked").symlink_to("mine")
    args = _parse(f"--config-dir {tmp_path} latent_dim=7")
    text = compose.help_text(args)
    listed = dict(line.split(": ") for line in re.split(r"\n\n|\):\n", text)[2].splitlines())
    assert listed.pop("dataset").split(", ").count("own") == 1
    own = [listed.pop(name) for name in ("dataset/deep", "mine", "linked")]
    assert own == ["below", "a", "a"]
    loader = compose.parser(args).config_loader
    known = set(loader.list_groups("")) - {"hydra", "dataset"}
    assert listed == {group: ", ".join(loader.get_group_options(group)) for group in known}
    assert "latent_dim: 7" in text
    assert "install=bash " in text
    assert "$(...)" in text


@cache
def _composed(lines):
    return compose.task(compose.checked(_parse(""), list(lines)))


def _run_of_earlier(folder, *lines, lacks=()):
    """Make the record of a run that began before the keys of `lacks` came in."""
    config = copy.deepcopy(_composed(lines))
    for key in ("report", *lacks):
        group, _, name = key.rpartition(".")
        del (config[group] if group else config)[name]
    # as such runs have it
    assert compose.unresolved(config)["objective"] == "val/elbo"
    with RunFolder.claim(folder, config, list(lines)):
        pass


@pytest.mark.parametrize("name", ["resume", "evaluate"])
def test_a_run_goes_on_as_it_began_though_keys_have_come_in(tmp_path, name):
    lacks = ("trainer.compile", "trainer.averaging", "model.initial_concentration")
    lacks += ("trainer.bound", "trainer.schedule", "trainer.optimizer", "network.unit_variance")
    _run_of_earlier(tmp_path, "latent_dim=3", lacks=lacks)
    config = plan.plan(_parse(f"{name}={tmp_path}")).config
    assert config.trainer.averaging is False  # which the default of now is not
    assert config.trainer.compile is False
    again = plan.plan(_parse(f"resume={tmp_path} trainer.on_nan=restart")).config
    assert (again.trainer.averaging, again.trainer.on_nan) == (False, "restart")
    _run_of_earlier(tmp_path / "new", "latent_dim=3")
    assert plan.plan(_parse(f"{name}={tmp_path}/new")).config.trainer.averaging is True


def test_a_study_goes_on_though_keys_have_come_in_that_it_does_not_read(tmp_path):
    lacks = ("trainer.averaging", "trainer.bound", "network.unit_variance")
    _run_of_earlier(tmp_path, "experiment=sampler_check", lacks=lacks)
    assert plan.plan(_parse(f"resume={tmp_path}")).verb == "resume"
    (tmp_path / "read").mkdir()
    _run_of_earlier(tmp_path / "read", "experiment=gradient_study", lacks=lacks)
    assert plan.plan(_parse(f"resume={tmp_path}/read")).config.trainer.averaging is False
    # and of a sweep
    line = f"-m experiment=sampler_check seed=0,1 hydra.sweep.dir={tmp_path}/sweep"
    for seed in (0, 1):
        words = ("experiment=sampler_check", f"seed={seed}")
        _run_of_earlier(tmp_path / "sweep" / str(seed), *words, lacks=lacks)
    assert _refusal(line) == ""


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_a_run_whose_rate_falls_keeps_its_length(tmp_path, schedule):
    lines = ("latent_dim=3", "trainer.max_epochs=7", f"trainer.schedule={schedule}")
    _run_of_earlier(tmp_path, *lines)
    longer = f"resume={tmp_path} trainer.max_epochs="
    assert _refusal(f"{longer}7") == ""
    assert f"is 9 now, as trainer.schedule={schedule} ends there" in _refusal(f"{longer}9")


@pytest.mark.parametrize("name", ["resume", "evaluate"])
def test_a_job_of_a_sweep_is_opened_again_though_an_override_had_no_effect_on_it(tmp_path, name):
    _run_of_earlier(
        tmp_path, "model=normal", "sampler.gradient=score", "network.unit_variance=true"
    )
    assert _refusal(f"{name}={tmp_path}") == ""


def test_a_sweep_goes_on_though_keys_have_come_in(tmp_path):
    line = f"-m latent_dim=3,4 trainer.averaging=false hydra.sweep.dir={tmp_path}"
    lacks = ("trainer.compile", "trainer.averaging")
    for number in (0, 1):
        folder, words = tmp_path / str(number), f"latent_dim={3 + number}"
        _run_of_earlier(folder, words, lacks=lacks)
    assert _refusal(line) == ""
    compiled = _refusal(f"{line} trainer.compile=true")
    assert "trainer.compile was false when the run began and is true now" in compiled
    assert _refusal(f"{line} trainer.on_nan=restart") == ""
    # the default of now is another one: the jobs go on with that of then
    assert _refusal(line.replace("trainer.averaging=false", "")) == ""
    averaged = _refusal(line.replace("averaging=false", "averaging=true"))
    assert "trainer.averaging was false when the run began and is true now" in averaged


def test_every_key_of_the_configuration_is_described():
    config = compose.checked(_parse(""), [])
    leaves = flatten(compose.unresolved(config))
    built = {"model.sampler", "model.gradient"}
    assert {k for k in leaves if not k.endswith("_target_")} - built <= schema.KEYS.keys()


def test_a_choice_called_as_one_of_the_package_is_refused(tmp_path):
    (tmp_path / "network").mkdir()
    (tmp_path / "network" / "mlp.yaml").write_text("_target_: mine.Network\n")
    refusal = _refusal(f"--config-dir {tmp_path} network=mlp")
    assert "network/mlp.yaml is called as a choice of this package" in refusal
