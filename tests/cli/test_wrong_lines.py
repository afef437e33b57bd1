"""What people really type wrong: exit code 2 and one sentence that holds what they needed."""

import shlex
import shutil
import subprocess
import sys

import pytest
from hydra._internal.utils import get_args_parser

from svae.cli import main, plan
from svae.configuration import compose, messages
from svae.recording import signals
from tests.support.swept import begin

POINT = "key=value, without spaces around the equals sign"
ONCE = "expected {} once"
LINES = [
    # as other programs have it
    ("--latent_dim 10", "--latent_dim: keys have no dashes, expected latent_dim=VALUE"),
    ("--latent-dim 10", "expected latent_dim=VALUE"),
    ("--latent_dim=10", "expected latent_dim=10"),
    ("--lr=3", "--lr: keys have no dashes, expected trainer.learning_rate=3"),
    ("-lr 3", "expected trainer.learning_rate=VALUE"),
    ("--epochs 5 --batch-size 4", "expected trainer.max_epochs=VALUE"),
    ("--trainer.lr=1", "expected trainer.learning_rate=1"),
    ("--model vmf", "expected model=VALUE"),
    ("--dataset=mnist", "expected dataset=mnist"),
    ("--seed 3", "expected seed=VALUE"),
    ("--gpu 0", "expected device=VALUE"),
    ("--resume x", "expected resume=VALUE"),
    ("--verbose", "--verbose: no such flag, expected key=value, or a flag that --help lists"),
    ("-x", "-x: no such flag"),
    ("--c", "--c: no such flag"),
    ("-v", "-v: no such flag; did you mean --version?"),
    ("-help", "-help: no such flag; did you mean --help?"),
    ("--experiment table1", "--experiment: keys have no dashes, expected experiment=VALUE"),
    ("--config-name=table1", "--config-name table1: there is no such configuration; did you mean"),
    ("--config my.yaml", "--config: no such flag; did you mean --config-dir?"),
    ("--hydra.run.dir=x", "expected hydra.run.dir=x"),
    ("--no-plots", "keys have no dashes, expected plots=false"),
    ("--sweep seed=0,1", "--sweep: no such flag; did you mean -m?"),
    ("help", "help: cannot be read, expected key=value; did you mean --help?"),
    ("--cfg", "--cfg/-c: expected one argument"),
    ("--cfg yaml", "choose from 'job', 'hydra', 'all'"),
    ("--config-dir ~nouser/x", "--config-dir ~nouser/x: expected a folder"),
    ("dataset.name=Cora", "dataset.name: no such key; did you mean dataset=cora?"),
    ("network.type=conv", "network.type: no such key; did you mean network=conv?"),
    ("model.type=gcn", "model.type: no such key; did you mean network=gcn?"),
    ("dataset=vmf", "; did you mean model=vmf?"),
    ("network=muon", "; did you mean trainer=muon?"),
    ("experiment=mlp", "; did you mean network=mlp?"),
    ("dataset.name=nought", "dataset=pubmed have it"),
    # spaces, colons, commas, brackets, quotes
    ("latent_dim = 10", POINT),
    ("latent_dim= 10", POINT),
    ("latent_dim =10", POINT),
    ("latent_dim 10", POINT),
    ("latent_dim:10", "latent_dim:10: cannot be read, expected latent_dim=10"),
    ("latent_dim: 10", "expected latent_dim=VALUE"),
    ("train", POINT),
    ("=3", "=3: cannot be read, expected key=value"),
    ("==", POINT),
    ("1=3", "a key is made of letters"),
    ("latent_dim=10,", "latent_dim=10,: cannot be read, expected latent_dim=10 without a comma"),
    ("latent_dim=10, seed=3", "or latent_dim=10,... with no space after the comma"),
    ("'latent_dim=10, seed=3'", "expected seed=... to be a word of its own"),
    ("'latent_dim=10 seed=3'", "expected seed=... to be a word of its own"),
    ("latent_dim==10", "expected latent_dim=VALUE, and as VALUE a whole number from 1 up"),
    ("'latent_dim=>10'", "and as VALUE a whole number from 1 up"),
    ("'latent_dim=10;'", "expected commas in place of semicolons, latent_dim=10"),
    ("-m 'latent_dim=2;5;10'", "expected commas in place of semicolons, latent_dim=2,5,10"),
    (
        "-m latent_dim=2 5 10",
        "and only commas between values, KEY=2,5,10",
    ),
    ("-m seed=0, 1, 2", "or seed=0,... with no space after the comma"),
    ("network.hidden=[256, 128]", "expected every bracket to be closed before a space, or quotes"),
    ("trainer max_epochs=5", "trainer: cannot be read, expected trainer=NAME or trainer.KEY=VALUE"),
    ("--multirun=true", "--multirun (-m): takes no value"),
    ("+experiment=table1", "experiment: is chosen twice, expected experiment=NAME once"),
    ("'seed=range(3)'", "several values are a sweep, which needs --multirun (-m)"),
    ("~logger", "did you mean logger.mode=disabled?"),
    # keys of another network, or of the other kind of data
    ("network.channels=16", "no such key for this network, only network=conv has it"),
    ("evaluation.samples=9", "it is for graphs; did you mean evaluation.importance_samples?"),
    (
        "dataset=cora evaluation.importance_samples=9",
        "vectors; did you mean evaluation.samples?",
    ),
    ("dataset=cora network=conv", "does not fit a dataset that is a graph, expected gcn or linear"),
    ("dataset=mnist network=gcn", "a dataset that is no graph, expected mlp, conv or m1m2"),
    ("experiment=table1 dataset=cora", "experiment to be for what dataset=NAME is"),
    ("+network.style_concentration=9", "no such key for this network, only network=m1m2 has it"),
    # as other libraries call it
    ("hidden_size=9", "did you mean network.hidden?"),
    ("units=9", "did you mean network.hidden?"),
    ("random_state=1", "did you mean seed?"),
    ("n_components=2", "did you mean latent_dim?"),
    ("kl_anneal=3", "did you mean trainer.warmup_epochs?"),
    ("fp16=true", "did you mean precision=bf16?"),
    ("samples=5", "did you mean trainer.samples?"),
    ("trainer=adam", "did you mean minibatch trainer.optimizer=adam?"),
    ("encode=x", "expected what to encode and where to, file=NEW.npy output=DIR"),
    ("network.hidden=[64", "expected every bracket to be closed"),
    ("'seed=range(3'", "expected every bracket to be closed"),
    ("'network.hidden=64]'", "expected every bracket to be closed"),
    ("'seed=${'", "expected a reference to be ${KEY}"),
    ("dataset.file=~/x.npz", """expected quotes around such a value: 'dataset.file="~/x.npz"'"""),
    ("dataset.file=a#b", """'dataset.file="a#b"'"""),
    ("dataset.file=a=b.npz", """'dataset.file="a=b.npz"'"""),
    ("dataset.file=é.npz", """'dataset.file="é.npz"'"""),
    ("logger.name=it\\'s", '''logger.name="it'"'"'s"'''),
    ("'logger.name=a\"b'", """'logger.name="a\\"b"'"""),
    ("hydra.run.dir=~nouser/x", """'hydra.run.dir="~nouser/x"'"""),
    # choices by other names
    (
        "model=VMF",
        "power_spherical, product, scaled_vmf, spherical_cauchy, vmf; did you mean vmf?",
    ),
    ("model=gaussian", "did you mean normal?"),
    ("model=Gaussian", "did you mean normal?"),
    ("model=vae", "did you mean normal?"),
    ("model=svae", "did you mean vmf?"),
    ("model=s-vae", "did you mean vmf?"),
    ("model=powerspherical", "did you mean power_spherical?"),
    ("model=1", "model=1: expected the name of a choice"),
    ("dataset=MNIST", "did you mean mnist?"),
    ("dataset=Cora", "did you mean cora?"),
    ("dataset=/data/x.npz", "dataset=/data/x.npz: expected one of array,"),
    ("wandb.project=foo", "did you mean logger.project?"),
    ("trainer.gpus=1", "did you mean device"),
    ("experiment=table4", "did you mean link_prediction?"),
    ("trainer.optimizer=adamw", "expected one of adam, muon; did you mean adam?"),
    (
        "model=spherical_cauchy sampler.gradient=score",
        "model=scaled_vmf and model=product have one",
    ),
    ("dataset.root=" + 256 * "x", "x: expected a folder, found none"),
    ("dataset=array dataset.file=" + 256 * "x", "x: expected a readable file, found none"),
    ("--config-dir " + 256 * "x", "x: expected a folder"),
    ("dataset=/data/x.npz", "did you mean dataset=array dataset.file=/data/x.npz?"),
    ("dataset=x.npz", "did you mean dataset=array dataset.file=x.npz?"),
    ("dataset=cifar10", "or one of your own, in the folder of --config-dir"),
    ("trainer=short", "muon, or one of your own, in the folder of --config-dir"),
    ("network=cnn", "did you mean conv?"),
    ("logger=none", "did you mean logger.mode=disabled?"),
    ("logger=null", "did you mean logger.mode=disabled?"),
    ("logger=false", "did you mean logger.mode=disabled?"),
    ("logger=offline", "did you mean logger.mode=offline?"),
    ("sampler=null", "sampler=null: expected the name of a choice"),
    # one or several values
    ("trainer.learning_rate=0,001", "did you mean trainer.learning_rate=0.001?"),
    ("trainer.lr=0,001", "did you mean trainer.learning_rate=0.001?"),
    ("logger.tags=a,b", "did you mean logger.tags=[a,b]?"),
    ("network.hidden=256,128", "did you mean network.hidden=[256,128]?"),
    ("latent_dim=2,5", "several values are a sweep, which needs --multirun (-m)"),
    ("seed=0 seed=1", f"seed=1: seed=0 is typed, too, {ONCE.format('seed')}"),
    ("model=vmf model=normal", ONCE.format("model")),
    ("latent_dim=3 +latent_dim=4", ONCE.format("latent_dim")),
    ("-m seed=0,1 seed=2,3", f"seed=2,3: seed=0,1 is typed, too, {ONCE.format('seed')}"),
    ("-m seed=5 'seed=range(4)'", ONCE.format("seed")),
    ("-m hydra.run.dir=x seed=0,1", "is of a run alone, expected hydra.sweep.dir"),
    # runs and folders
    ("resume=0", "resume=0: no such folder"),
    ("resume=null", "resume=null: no such folder"),
    ("resume=~nouser/x", "resume=~nouser/x: no such folder"),
    ("evaluate=1e5", "evaluate=1e5: no such folder"),
    ("evaluate=ü#=x", "evaluate=ü#=x: no such folder"),
    ("report=0", "report=0: no such folder"),
    ("report=~nouser", "report=~nouser: no such folder"),
    ("resume", POINT),
    # numbers without an end
    (f"seed={'9' * 5000}", "seed=999999999...(5000 digits): expected a number of at most 300 dig"),
    (f"trainer.learning_rate={'9' * 310}", "(310 digits): expected a number of at most 300"),
    (f"-m seed=0,{'9' * 310}", "expected a number of at most 300 digits"),
    (f"network.hidden=[{'9' * 5000}]", "expected a number of at most 300 digits"),
    (f"resume={'9' * 400}", "(400 digits)"),
    # a few that have to be composed
    ("gpu=0", "gpu: no such key; did you mean device=cuda:0?"),
    ("wandb=false", "wandb: no such key; did you mean logger.mode=disabled?"),
    ("data_file=x", "did you mean dataset.file, which only dataset=array, dataset=directions and"),
    (
        "dataset.file=x.npz",
        "for this dataset, only dataset=array, dataset=directions and dataset=graph have it",
    ),
    ("dataset.root=/nowhere", "dataset.root=/nowhere: expected a folder, found none"),
    ("hydra.run.dir=/etc/hosts", "/etc/hosts: is a file, expected a folder"),
    ("'hydra.run.dir=\"~nouser/x\"'", "there is no such home folder"),
    ("hydra.sweep.dir=x", "hydra.sweep.dir=x: is of a sweep, which needs --multirun (-m)"),
    ("-m seed=0,0", "seed=0,0: 0 is there twice, expected it once"),
    ("-m model=vmf,vmf", "vmf is there twice"),
    ("-m trainer.learning_rate=1e-3,0.001", "0.001 is there twice"),
]


@pytest.mark.parametrize(("line", "words"), LINES, ids=[line[:40] for line, _ in LINES])
def test_a_wrong_line_is_refused_in_one_sentence(line, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["svae-train", *shlex.split(line)])
    monkeypatch.setattr(signals, "install", lambda: None)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(SystemExit) as ended:
        main.main()
    text = capsys.readouterr().err
    assert (ended.value.code, text.count("\n")) == (2, 1)
    assert words in text
    assert not any(word in text for word in ("Error", "hydra.cc", "expecting", "EOF"))
    assert list(tmp_path.iterdir()) == []


def test_there_are_as_many_lines_as_promised():
    from tests.cli.test_plan import REFUSED
    from tests.configuration.test_wrong_values import VALUES

    assert len({*LINES, *VALUES, *REFUSED}) >= 200


ODD = ("0", "null", "true", "1e5", "ü ñ", "it's", 'q"q', "a=b#c", "~nouser", "a,b", "[x]", "b\\s\\")


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A run folder, and what is read of it."""
    folder = tmp_path_factory.mktemp("runs") / "r"
    begin(folder, "interrupted")
    return folder, plan.saved_values(folder), plan.reopened(folder, {})


@pytest.mark.parametrize("name", ODD)
def test_a_run_folder_may_be_called_anything(name, begun, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder, values, config = begun
    shutil.copytree(folder, tmp_path / name)
    # however it is called it holds the same, which takes its time to read
    monkeypatch.setattr(plan, "saved_values", lambda path: path.samefile(name) and values)
    monkeypatch.setattr(plan, "reopened", lambda path, _: path.samefile(name) and config)
    lines = [f"resume={name}", f"evaluate=./{name}", f"resume={name}/"]
    lines.append(compose.quoted("resume", tmp_path / name))
    for line in lines:
        found = plan.plan(get_args_parser().parse_intermixed_args([line]))
        assert found.folder == tmp_path / name
    for line in (f"report=./{name}", compose.quoted("report", tmp_path / name)):
        found = plan.plan(get_args_parser().parse_intermixed_args([line]))
        assert [path.absolute() for path in found.folders] == [tmp_path / name]


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (
            "network.hiden",
            "did you mean network.hidden, which only network=conv, network=gcn, network=m1m2 and ",
        ),
        ("network.widht", "did you mean network.width?"),
        ("hidden_dim", "did you mean network.hidden, which only"),
        ("network.hidden", "network.hidden: no such key for this network"),
    ],
)
def test_a_network_of_ones_own_has_the_keys_that_it_has(key, words, tmp_path):
    (tmp_path / "network").mkdir()
    (tmp_path / "network" / "own.yaml").write_text("_target_: mine.Network\nwidth: 3\n")
    line = ["--config-dir", str(tmp_path), "network=own", f"{key}=3"]
    with pytest.raises(messages.HYDRA_ERRORS) as refused:
        plan.plan(get_args_parser().parse_intermixed_args(line))
    assert words in messages.sentence(refused.value)


@pytest.mark.parametrize(
    ("line", "refused"),
    [
        ("-m seed=range(2)", "seed=range(2)"),
        ("-m latent_dim=2,choice(3)", "latent_dim=2,choice(3)"),
        ("+trainer={a:1}", "+trainer={a:1}"),
        ("-m experiment=table1", "seed=range(10)"),  # what a preset sweeps
    ],
)
def test_what_hydra_cannot_read_without_assert_statements_is_refused(line, refused, monkeypatch):
    monkeypatch.setattr(compose, "_IS_OPTIMISED", True)
    args = get_args_parser().parse_args(shlex.split(line))
    with pytest.raises(messages.Refused, match="PYTHONOPTIMIZE") as error:
        plan.plan(args)
    assert str(error.value).startswith(refused + ": ")


@pytest.mark.parametrize("line", ["seed=1", "logger.name=a", "logger.name='${seed}'"])
def test_what_it_can_read_without_them_is_not(line, monkeypatch):
    monkeypatch.setattr(compose, "_IS_OPTIMISED", True)
    assert compose.parsed([line])[0].input_line == line


@pytest.mark.slow
def test_python_without_assert_statements_is_seen(environment, tmp_path):
    command = [sys.executable, "-O", "-m", "svae", "-m", "seed=range(2)"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert "PYTHONOPTIMIZE= svae-train" in done.stderr
    assert not any(tmp_path.iterdir())
