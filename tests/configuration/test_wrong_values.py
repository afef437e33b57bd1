"""Wrong values, and names that people have for keys and choices: what was meant is named."""

import copy

import pytest
from hydra._internal.utils import get_args_parser
from omegaconf import OmegaConf

from svae.configuration import checks, compose, messages, suggestions

# what is said of the value of a key that there is
VALUES = [
    ("device=0", "did you mean cuda:0?"),
    ("device=gpu", "did you mean cuda?"),
    ("device=GPU", "did you mean cuda?"),
    ("device=CUDA:1", "did you mean cuda:1?"),
    ("device=cuda:99999999999", "expected auto, cpu, cuda or cuda:N"),
    ("device=cuda:01", "expected auto, cpu, cuda or cuda:N"),
    ("device=cuda:-1", "expected auto, cpu, cuda or cuda:N"),
    ("device=null", "expected auto, cpu"),
    ("precision=bfloat16", "did you mean bf16?"),
    ("precision=BF16", "did you mean bf16?"),
    ("precision=fp32", "did you mean float32?"),
    ("precision=bf16-mixed", "did you mean bf16?"),
    ("precision=32", "expected one of float32, bf16"),
    ("seed=[0,1,2]", "did you mean -m seed=0,1,2?"),
    ("latent_dim=[2,5]", "did you mean -m latent_dim=2,5?"),
    ("seed=0..3", "did you mean -m 'seed=range(0,4)'?"),
    ("seed=0-3", "did you mean -m 'seed=range(0,4)'?"),
    ("seed=0:3", "did you mean -m 'seed=range(0,4)'?"),
    ("seed=1e3", "did you mean 1000?"),
    ("seed=", "seed=: expected a whole number from 0 up"),
    ("seed=random", "expected a whole number from 0 up"),
    ("seed=0.5", "expected a whole number from 0 up"),
    ("seed=null", "expected a whole number from 0 up"),
    ("seed='3'", "expected a whole number from 0 up"),
    ("latent_dim=10.0", "did you mean 10?"),
    ("latent_dim=1O", "expected a whole number from 1 up"),
    ("latent_dim=9999999999", "up to 2147483647"),
    ("latent_dim=", "expected a whole number from 1 up"),
    ("threads=0.5", "a whole number from 1 to 1024, or null"),
    ("threads=all", "a whole number from 1 to 1024, or null"),
    ("plots=no", "expected true or false"),
    ("plots=1", "expected true or false"),
    ("plots=null", "expected true or false"),
    ("objective=elbo", "did you mean val/elbo?"),
    ("objective=val_elbo", "did you mean val/elbo?"),
    ("objective=VAL/ELBO", "did you mean val/elbo?"),
    ("objective=loss", "expected one of val/elbo"),
    ("trainer.optimizer=Adam", "did you mean adam?"),
    ("trainer.optimizer=MUON", "did you mean muon?"),
    ("trainer.optimizer=sgd", "expected one of adam, muon"),
    ("trainer.schedule=cos", "did you mean cosine?"),
    ("trainer.schedule=none", "did you mean constant?"),
    ("trainer.schedule=CosineAnnealingLR", "did you mean cosine?"),
    ("trainer.max_epochs=-1", "expected a whole number from 1 up"),
    ("trainer.max_epochs=1e2", "did you mean 100?"),
    ("trainer.max_epochs=inf", "expected a whole number from 1 up"),
    ("trainer.batch_size=64.0", "did you mean 64?"),
    ("trainer.batch_size=all", "expected a whole number from 1 up"),
    ("trainer.learning_rate=1e-3s", "expected a number above 0"),
    ("trainer.learning_rate=auto", "expected a number above 0"),
    ("trainer.learning_rate=-1", "expected a number above 0"),
    ("trainer.kl_weight=nan", "expected a number from 0 up"),
    ("trainer.bound=ELBO", "did you mean elbo?"),
    ("trainer.bound=iw", "expected one of elbo, iwae"),
    ("trainer.averaging=yes", "expected true or false"),
    ("trainer.compile=0", "expected true or false"),
    ("trainer.replicas=2000", "expected a whole number from 1 to 1024"),
    ("trainer.on_nan=ignore", "expected one of stop, restart"),
    ("sampler.gradient=Implicit", "did you mean implicit?"),
    ("sampler.gradient=reparameterization", "did you mean implicit?"),
    ("sampler.gradient=reparam", "did you mean implicit?"),
    ("sampler.gradient=rejection", "did you mean corrected?"),
    ("sampler.baseline=loo", "did you mean leave_one_out?"),
    ("sampler.baseline=average", "did you mean mean?"),
    ("sampler.baseline=null", "expected one of none"),
    ("model.initial_concentration=M", "did you mean m?"),
    ("model.initial_concentration=0", "expected a number above 1 and below 1e8, or m"),
    ("network.hidden=256", "whole numbers from 1 up; did you mean network.hidden=[256]?"),
    ("network.hidden=[256,128.0]", "expected a list of whole numbers"),
    ("network.hidden=null", "expected a list of whole numbers"),
    ("network.unit_variance=on", "expected true or false"),
    ("logger.mode=false", "did you mean disabled?"),
    ("logger.mode=none", "did you mean disabled?"),
    ("logger.mode=dryrun", "did you mean offline?"),
    ("logger.mode=OFFLINE", "did you mean offline?"),
    ("logger.name=5", """did you mean 'logger.name="5"'?"""),
    ("logger.project=true", """did you mean 'logger.project="true"'?"""),
    ("logger.images_every=0", "expected a whole number from 1 up"),
    ("logger.artifacts=1", "expected true or false"),
    ("logger.tags=paper", "64 characters each, or null; did you mean logger.tags=[paper]?"),
    ("logger.tags=[1]", "expected a list of texts"),
    ("logger.tags=[a,'']", "expected a list of texts of 1 to 64 characters each"),
    (f"logger.tags=[{'t' * 65}]", "expected a list of texts of 1 to 64 characters each"),
    ("logger.project=a/b", "expected text of at most 128 characters without / "),
    ("logger.entity='a b?'", "expected text of at most 128 characters without / "),
    (f"logger.name={'n' * 129}", "expected text of 1 to 128 characters"),
    ("dataset.root=0", """did you mean 'dataset.root="0"'?"""),
    ("evaluation.importance_samples=1e3", "did you mean 1000?"),
    ("evaluation.batch_size=0", "expected a whole number from 1 up"),
    ("study=3", "expected null, or keys under it"),
]
# what is meant by the name of a key or by a choice that there is not
MEANT = [
    ("distribution=vmf", "model=vmf"),
    ("posterior=vmf", "model=vmf"),
    ("prior=uniform", "model"),
    ("model.name=vmf", "model=vmf"),
    ("model.encoder=mlp", "network=mlp"),
    ("model.latent_dims=10", "latent_dim"),
    ("LATENT_DIM=10", "latent_dim"),
    ("data=mnist", "dataset=mnist"),
    ("datamodule=mnist", "dataset=mnist"),
    ("dataset.path=x", "dataset.file"),
    ("dataset.data=x", "dataset.file"),
    ("dataset.batch_size=64", "trainer.batch_size"),
    ("dataset.split=0.8", "dataset.test_fraction"),
    ("dataset.val_split=0.1", "dataset.validation_fraction"),
    ("task=link_prediction", "experiment=link_prediction"),
    ("output_dir=x", "hydra.run.dir=x"),
    ("save_dir=x", "hydra.run.dir=x"),
    ("hydra.output_dir=x", "hydra.run.dir=x"),
    ("ckpt_path=x", "resume"),
    ("load=x", "resume"),
    ("no_wandb=true", "logger.mode=disabled"),
    ("use_wandb=false", "logger.mode=disabled"),
    ("logger.offline=true", "logger.mode=offline"),
    ("n_jobs=4", "cluster=local"),
    ("launcher=joblib", "cluster=local"),
    ("dropout=0.1", "network.dropout"),
    ("gradient=score", "sampler.gradient=score"),
    ("iwae=true", "trainer.bound=iwae"),
    ("K=5", "trainer.samples"),
    ("max_steps=1000", "trainer.max_epochs"),
    ("trainer.fast_dev_run=true", "trainer.max_epochs=1"),
    ("multirun=true", "-m"),
]
CHOICES = [
    ("model=von-mises-fisher", "vmf"),
    ("model=sphere", "vmf"),
    ("model=autoencoder", "normal"),
    ("model=beta_vae", "normal trainer.kl_weight=BETA"),
    ("sampler=score", "sampler.gradient=score"),
    ("sampler=ulrich", "rejection"),
    ("search=tpe", "optuna"),
    ("hydra/launcher=slurm", "cluster=slurm"),
    ("dataset=x.csv", "dataset=directions dataset.file=x.csv"),
    ("dataset=x.npy", "dataset=array dataset.file=x.npy"),
]


@pytest.fixture(scope="module")
def values() -> dict:
    return compose.public(compose.task(compose.checked(get_args_parser().parse_args([]), [])))


@pytest.mark.parametrize(("line", "words"), VALUES, ids=[line for line, _ in VALUES])
def test_a_wrong_value_is_refused_in_one_sentence(line, words, values):
    (override,) = compose.parsed([line])
    *groups, key = override.key_or_group.split(".")
    group = values = copy.deepcopy(values)
    for name in groups:
        group = group[name]
    group[key] = override.value()
    with pytest.raises(ValueError, match="expected") as refused:
        checks.check(values)
    text = str(refused.value)
    assert text.startswith(f"{override.key_or_group}=")
    assert words in text


@pytest.mark.parametrize("key", ["latent_dim", "precision", "logger.entity", "trainer.samples"])
def test_a_wrong_value_of_the_environment_is_not_shown(key, values, monkeypatch):
    monkeypatch.setenv("SECRET", "the/secret")
    config = OmegaConf.create(values)
    OmegaConf.update(config, key, "${oc.env:SECRET}")
    with pytest.raises(messages.Refused, match="expected") as refused:
        compose.check(config)
    assert str(refused.value).startswith(f"{key}=${{oc.env:SECRET}}: expected")
    assert "the/secret" not in str(refused.value)


@pytest.mark.parametrize(("line", "meant"), MEANT)
def test_the_key_that_is_meant_is_named(line, meant):
    key, _, value = line.partition("=")
    text = suggestions.of_key(key, value)
    assert text.startswith("; did you mean ")
    assert text.removeprefix("; did you mean ").rstrip("?").split(", which")[0] == meant


@pytest.mark.parametrize(("line", "meant"), CHOICES)
def test_the_choice_that_is_meant_is_named(line, meant):
    group, _, word = line.partition("=")
    assert suggestions.of_option(word, (), group) == f"; did you mean {meant}?"
