"""The table of keys: what it takes, what it says of that, and what is read from it."""

import math

import pytest

from svae.configuration import checks, schema, suggestions
from svae.configuration.schema import KEYS, expected, may_change, options, takes
from svae.configuration.words import ALSO, GROUPS

WHOLE = [key for key in KEYS if expected(KEYS[key].type).startswith("a whole number")]
NUMBERS = [key for key in KEYS if expected(KEYS[key].type).startswith("a number")]
SWITCHES = [key for key in KEYS if KEYS[key].type is bool]


@pytest.mark.parametrize("key", WHOLE)
def test_a_whole_number_is_nothing_that_only_looks_like_one(key):
    assert takes(key, 1000)
    for value in (True, "1000", 1000.0, -1, [1000], math.nan, b"1"):
        assert not takes(key, value), value


@pytest.mark.parametrize("key", NUMBERS)
def test_a_number_is_finite_and_no_text(key):
    assert takes(key, 0.5) or takes(key, 2)
    for value in (True, "0.5", math.nan, math.inf, -1, 10**400):
        assert not takes(key, value), value


@pytest.mark.parametrize("key", SWITCHES)
def test_a_switch_is_true_or_false(key):
    assert takes(key, True)
    assert takes(key, False)
    assert not any(takes(key, value) for value in (0, 1, "true", None))


@pytest.mark.parametrize(
    ("key", "phrase"),
    [
        ("latent_dim", "a whole number from 1 up to 2147483647"),
        ("seed", "a whole number from 0 up"),
        ("threads", "a whole number from 1 to 1024, or null"),
        ("plots", "true or false"),
        ("precision", "one of float32, bf16"),
        ("dataset.unit", "one of degrees, radians, vectors, or null"),
        ("trainer.learning_rate", "a number above 0"),
        ("trainer.kl_weight", "a number from 0 up"),
        ("resume", "text, or null"),
        ("device", "auto, cpu, cuda or cuda:N"),
    ],
)
def test_what_is_expected_follows_from_the_type(key, phrase):
    assert expected(KEYS[key].type) == phrase


def test_every_word_that_is_suggested_is_taken_and_no_alias_is_a_key_or_names_two_of_a_group():
    aliases = [(k.split(".")[0], word) for k, key in KEYS.items() for word in key.also.split()]
    assert len(aliases) == len({*aliases})
    assert not {word for _, word in aliases} & {*KEYS, *GROUPS}
    for name, key in KEYS.items():
        assert all(takes(name, word) for word in (*options(key.type), *key.words.values()))
        assert not any(takes(name, word) for word in key.words)
        assert {*key.may_change.split()} <= {"resume", "evaluate", "sweep"}
        assert key.only in (None, "vectors", "graphs")
        assert key.before is schema.ALWAYS or key.before is None or takes(name, key.before)
    elsewhere = " ".join(ALSO.values()).split()
    assert len(elsewhere) == len({*elsewhere})
    assert not {*elsewhere} & {*KEYS, *GROUPS}


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("lr", "trainer.learning_rate"),
        ("trainer.lr", "trainer.learning_rate"),
        ("model.lr", "trainer.learning_rate"),
        ("epochs", "trainer.max_epochs"),
        ("batch_size", "trainer.batch_size"),
        ("z_dim", "latent_dim"),
        ("model.z_dim", "latent_dim"),
        ("dim", "latent_dim"),
        ("dataset.dim", "dataset.dimension"),
        ("gpu", "device"),
        ("bf16", "precision"),
        ("beta", "trainer.kl_weight"),
        ("data", "dataset"),
    ],
)
def test_the_key_that_is_meant(key, meant):
    assert suggestions.of_key(key) == f"; did you mean {meant}?"


@pytest.mark.parametrize(
    ("key", "value", "meant"),
    [
        ("precision", "bfloat16", "bf16"),
        ("device", "gpu", "cuda"),
        ("device", 0, "cuda:0"),
        ("logger.mode", False, "disabled"),
        ("trainer.bound", "iwea", "iwae"),
    ],
)
def test_the_value_that_is_meant(key, value, meant):
    assert suggestions.of_value(key, value) == f"; did you mean {meant}?"


def test_nothing_is_suggested_for_what_looks_like_nothing():
    assert suggestions.of_key("qwertyuiop") == suggestions.of_value("precision", "zzz") == ""


def test_what_may_change():
    everywhere = {name for name in KEYS if name.startswith("logger.")}
    assert {*may_change("sweep")} == {"device", "threads", "trainer.on_nan", *everywhere}
    evaluation = {"importance_samples", "batch_size", "samples"}
    evaluation = {"device", *(f"evaluation.{name}" for name in evaluation)}
    assert {*may_change("evaluate")} == {"threads", "plots", *evaluation}
    trainer = {"trainer.max_epochs", "trainer.patience", "trainer.on_nan"}
    assert {*may_change("resume")} == trainer | evaluation | everywhere


def test_the_keys_of_a_class_of_ones_own_are_free():
    checks._check_value("model.anything", object())
    with pytest.raises(ValueError, match=r"trainer\.anything: no such key"):
        checks._check_value("trainer.anything", 1)
