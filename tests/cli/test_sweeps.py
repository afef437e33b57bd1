"""The jobs of a sweep: which there are, their configurations and their folders."""

import pytest
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.types import Transformer

from svae.cli import grid, plan
from svae.cli.sweeps import Jobs
from svae.configuration import compose
from svae.recording.claim import claim
from svae.recording.folder import FINISHED, RunFolder
from tests.support.swept import CONFIG, planned


def test_a_begun_sweep_is_refused_in_what_differs_before_anything_is_touched(tmp_path):
    line = f"-m model=normal,vmf latent_dim=2,3 hydra.sweep.dir={tmp_path}"
    assert planned(line).runs == 4
    config = compose.checked(get_args_parser().parse_args([]), ["model=vmf", "latent_dim=2"])
    with RunFolder.claim(tmp_path / "2", compose.task(config), []) as folder:
        folder.status(FINISHED)
    assert planned(line).folder == tmp_path
    with pytest.raises(plan.Refused, match="latent_dim was 2 when the run began and is 5 now"):
        planned(line.replace("2,3", "5,3"))


@pytest.mark.parametrize(
    ("subdir", "words"),
    [
        ("../${hydra.job.num}", "outside"),
        ("${seed}", "for runs 0 and 2"),
        (".", "outside"),
        ("/tmp/${hydra.job.num}", "outside"),
        ("x${latent_dim}", "for runs 0 and 1"),
        ("${now:%S}-${hydra.job.num}", "changes with time"),
        ("${hydra.job.id}", "expected a folder of its own"),
        ("${nothing}", "expected a folder of its own"),
    ],
)
def test_the_folders_of_jobs_are_their_own_and_below_the_sweep(tmp_path, subdir, words):
    line = f"-m latent_dim=2,3 seed=0,1 hydra.sweep.dir={tmp_path}/s 'hydra.sweep.subdir={subdir}'"
    with pytest.raises(plan.Refused, match=r"hydra\.sweep\.subdir") as refused:
        planned(line)
    assert words in str(refused.value)
    assert not (tmp_path / "s").exists()


LONG = "x" * 256
TAGS = ",".join(letter * 60 for letter in "abcde")
BY_NAME = "'hydra.sweep.subdir=${hydra.job.override_dirname}'"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (f"hydra.run.dir={LONG}", "hydra.run.dir: the name x{40}... has 256 bytes, .* most 255"),
        (f"-m seed=0,1 \"hydra.sweep.dir='a/{'é' * 128}/b'\"", "sweep.dir: the name é.* 256 bytes"),
        (f"report={LONG}", f"report=.*{LONG}: no such folder"),
        (f"hydra.run.dir={'d/' * 2000}", "hydra.run.dir: the path .* bytes, expected at most 3900"),
        (
            f"-m seed=0,1 logger.tags=[{TAGS}] {BY_NAME}",
            "hydra.sweep.subdir=.*: the name .* bytes, expected at most 255",
        ),
        (
            f"-m seed=0,1 'hydra.sweep.subdir={'d/' * 2000}${{seed}}'",
            "hydra.sweep.subdir=.*: the path .* bytes, expected at most 3900",
        ),
    ],
)
def test_folders_that_no_file_system_takes_are_refused(tmp_path, monkeypatch, line, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(plan.Refused, match=words):
        planned(line)
    assert list(tmp_path.iterdir()) == []
    if "run.dir=x" in line:  # the longest is taken
        assert planned(line.replace(LONG, LONG[1:])).folder == tmp_path / LONG[1:]


def test_a_folder_within_that_of_another_job_is_refused(tmp_path):
    line = (
        f"-m logger.name=a,a/b hydra.sweep.dir={tmp_path}/s 'hydra.sweep.subdir=${{logger.name}}'"
    )
    with pytest.raises(plan.Refused, match="run 1 would lie in that of run 0"):
        planned(line)


def test_the_folders_of_others_are_refused_and_left_alone(tmp_path):
    line = f"-m seed=0,1 hydra.sweep.dir={tmp_path}"
    (tmp_path / "1").write_text("mine")
    with pytest.raises(plan.Refused, match="1: is a file, expected a folder"):
        planned(line)
    (tmp_path / "1").unlink()
    (tmp_path / "1" / "plots").mkdir(parents=True)
    with pytest.raises(plan.Refused, match="1: holds plots and no run, expected a new or an em"):
        planned(line)
    with pytest.raises(ValueError, match="holds plots and no run"):
        claim(tmp_path / "1", CONFIG, [], searches=False)
    assert (tmp_path / "1" / "plots").is_dir()


def test_folders_are_those_that_hydra_makes(tmp_path):
    """Whatever the name is made of."""
    subdir = "${model._target_}/${hydra.job.override_dirname}-${network.hidden}-${hydra.job.num}"
    line = "model=normal,vmf seed=1,0 network.hidden=[8],[16,4] trainer.max_epochs=3"
    plan = planned(f"-m {line} hydra.sweep.dir={tmp_path} 'hydra.sweep.subdir={subdir}'")
    assert len(plan.paths) == 8
    words = "model=vmf,network.hidden=[16,4],seed=0,trainer.max_epochs=3-[16, 4]-7"
    assert tmp_path / "svae.models.latent.VonMisesFisherFamily" / words in plan.paths


def test_a_name_of_a_group_may_be_a_pattern(tmp_path):
    plan = planned(f"-m 'model=glob([n*,v*])' seed=0,1 hydra.sweep.dir={tmp_path}")
    assert plan.runs == 4


def test_jobs_are_numbered_as_hydra_numbers_them(tmp_path):
    """What a preset sweeps keeps its place when it is typed, too."""
    arguments = ["experiment=table1", "latent_dim=2,5", "trainer.max_epochs=3", "seed=0,1"]
    jobs = Jobs(get_args_parser().parse_args(["-m", *arguments])).lines
    varying = [[word for word in words if "experiment" not in word] for words in jobs]
    fixed = "trainer.max_epochs=3"
    assert len(jobs) == 8
    assert varying[1] == ["seed=0", "latent_dim=2", "model=vmf", fixed]
    assert varying[2] == ["seed=0", "latent_dim=5", "model=normal", fixed]
    assert varying[4] == ["seed=1", "latent_dim=2", "model=normal", fixed]


def test_the_command_that_goes_on_survives_a_shell(tmp_path):
    folder = tmp_path / "it's (mine)"
    words = ["-m", "network.hidden=[8],[16]", "seed=0,1", "logger.name='a b'"]
    args = get_args_parser().parse_args([*words, compose.quoted("hydra.sweep.dir", folder)])
    again = planned(plan.plan(args).again.removeprefix("svae-train "))
    assert again.folder == folder
    assert again.runs == 4


@pytest.mark.parametrize(
    "words",
    [
        ["logger.tags=[a,b],[c]", "threads=null,1", "logger.name='b c',null", "seed=0,1"],
        [
            "network.hidden=[8],[4,2]",
            "trainer.batch_size=7,'${latent_dim}'",
            "dataset=mnist,circle",
        ],
    ],
    ids=["values", "choices"],
)
def test_a_shared_composition_is_that_of_the_job_alone(words):
    jobs = Jobs(get_args_parser().parse_args(["-m", *words]))
    for line in jobs.lines:
        shared = compose.unresolved(jobs.config(line))
        alone = compose.composed(get_args_parser().parse_args([]), line)
        assert shared == compose.unresolved(alone)
    assert len(jobs._composed) < len(jobs.lines)


def test_many_jobs_are_composed_once_where_they_make_the_same_choices(tmp_path, monkeypatch):
    count, composed = 0, compose.composed

    def counted(*arguments):
        nonlocal count
        count += 1
        return composed(*arguments)

    monkeypatch.setattr(compose, "composed", counted)
    values = "network.hidden=[8],[16] trainer.on_nan=stop,restart logger.name=a,'b c' seed=0,1,2,3"
    assert planned(f"-m model=normal,vmf {values} hydra.sweep.dir={tmp_path}").runs == 64
    assert count == 3  # without what is swept, and for each model
    with pytest.raises(plan.Refused, match=r"trainer\.on_nan=never: expected one of stop, rest"):
        planned(f"-m trainer.on_nan=stop,never seed=0,1 hydra.sweep.dir={tmp_path}")


@pytest.mark.parametrize(
    ("typed", "values"),
    [
        ("choice('a,b','c d')", ["a,b", "c d"]),
        ("choice('é',x)", ["é", "x"]),
        ("choice('it\\'s','null','1')", ["it's", "null", "1"]),
        ("sort(choice('ü','é'))", ["é", "ü"]),
        ("shuffle('a,b','é')", ["a,b", "é"]),
        ("tag(t,choice('[x]','a=b',''))", ["[x]", "a=b", ""]),
    ],
)
def test_texts_of_a_choice_are_those_that_were_typed(typed, values):
    (override,) = compose.parsed([f"logger.name={typed}"])
    parsed = compose.parsed([grid.quoted(override)])
    jobs = [line for (line,) in grid.jobs(grid.values(parsed))]
    # as the sweeper of Optuna reads it
    trials = [f"logger.name={v}" for v in parsed[0].sweep_iterator(transformer=Transformer.encode)]
    for lines in (jobs, trials):
        found = [str(override.value()) for override in compose.parsed(lines)]
        assert (sorted(found) if "shuffle" in typed else found) == values


@pytest.mark.parametrize(
    "line", ["model=choice(vmf,normal)", "model=glob(*)", "seed=range(3)", "seed=1", "seed=1,2"]
)
def test_what_needs_no_quotes_stays_as_it_was_typed(line):
    assert grid.quoted(*compose.parsed([line])) == line


@pytest.mark.parametrize("typed", ["range(50)", "range(0,25,0.5)", ",".join(map(str, range(50)))])
def test_an_order_that_is_drawn_is_drawn_once(typed):
    (override,) = compose.parsed([f"threads=shuffle({typed})"])
    parsed = compose.parsed([grid.quoted(override)])
    found, again = (grid.values(parsed) for _ in range(2))
    assert found == again
    (plain,) = grid.values(compose.parsed([f"threads={typed}"]))
    assert found != [plain]
    assert sorted(found[0]) == sorted(plain)


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("range(999999999999)", "more than 10000 values"),
        ("range(1,2,0)", "must not be zero"),
        ("1,1", "is there twice"),
    ],
)
def test_what_cannot_be_drawn_is_refused_at_once(typed, words):
    with pytest.raises(plan.Refused, match=rf"^seed=shuffle\(.*{words}"):
        planned(f"-m 'seed=shuffle({typed})'")


def test_a_sweep_hands_hydra_the_texts_in_quotes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sweep = planned("-m \"logger.name=choice('a,b','é')\" hydra.sweep.dir=s")
    assert "logger.name='a,b','é'" in sweep.arguments
    assert sweep.runs == 2
