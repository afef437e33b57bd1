"""Whatever is typed, the program accepts it or refuses it in one sentence: properties."""

import shlex
from argparse import Namespace

from hydra._internal.utils import get_args_parser
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from svae.cli import plan
from svae.cli.sweeps import Jobs
from svae.configuration.messages import HYDRA_ERRORS, Refused, sentence
from svae.configuration.schema import KEYS
from svae.configuration.words import GROUPS

_OPTIONS = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,  # a build that fails once fails always
    suppress_health_check=list(HealthCheck),
)
_ODD = ["ключ", "名前", "latent_dim\u0301", "x" * 5_000, "a." * 500 + "b", "🙂", "\u202emodel"]
_HYDRA = ["run.dir", "sweep.dir", "sweep.subdir", "job.num", "job.name", "mode", "launcher.n_jobs"]
_GROUPS = [*GROUPS]
_KEYS = st.one_of(
    st.sampled_from(sorted(KEYS)),
    st.sampled_from(_GROUPS),
    st.sampled_from([f"hydra.{key}" for key in _HYDRA]),
    st.sampled_from(["model._target_", "hydra/launcher", "hydra/sweeper", "hydra", "defaults"]),
    # a group put elsewhere, a key below a value, an item of a list
    st.builds(
        "{}@{}".format, st.sampled_from(_GROUPS), st.sampled_from(["model", "x.y", ":z", ""])
    ),
    st.builds(
        "{}.{}".format, st.sampled_from(sorted(KEYS)), st.sampled_from(["x", "0", "_target_"])
    ),
    st.sampled_from(_ODD),
    st.text(max_size=12),
)
_LEAVES = st.one_of(
    st.integers().map(str),
    st.floats().map(repr),
    st.booleans().map(str),
    st.sampled_from(["1e308", "1e999", "-1e-999", "5e-324", f"{2**63}", f"{-(2**64)}", "9" * 400]),
    st.sampled_from(["0x10", "1_000", "-0", "+1", ".5", "1.", "nan", "-inf", "0b1", "1e5", "٣"]),
    st.sampled_from(
        ["null", "", "[]", "{}", "???", "'", '"', "\\", "a b", "=", "a=b", "x" * 5_000]
    ),
    st.sampled_from(["vmf", "cora", "array", "gcn", "none", "true", "m", "auto", *_ODD]),
    st.text(max_size=20),
)
_INTERPOLATIONS = st.sampled_from(
    [
        *("${seed}", "${latent_dim}", "${trainer}", "${.x}", "${..seed}", "${nope}", "${", "${}"),
        *("${oc.env:HOME}", "${oc.env:NOPE}", "${oc.env:NOPE,1}", "${nope:1}", "${oc.decode:'['}"),
        *("${oc.create:{a:1}}", "${oc.select:seed}", "${oc.dict.keys:trainer}", "${hydra:job.num}"),
        *("${seed}${seed}", "a${seed}", "${${seed}}", "${trainer.samples}", "\\${seed}"),
    ]
)
_SWEEPS = st.sampled_from(
    [
        *("a,b", "1,2", "vmf,normal", "1,0", "1,x", ",", "1,,2", "range(1,3)", "range(3,1)"),
        *("range(0)", "range(1,2,0)", "range(1,9999999)", "choice(1,2)", "choice()", "glob(*)"),
        *("glob([*],exclude=v*)", "interval(0,1)", "tag(a,interval(1,2))", "shuffle(range(1,4))"),
        *("sort(2,1)", "int(2.5)", "cast(1)", "extend_list(1)", "range(1.5,3,0.5)", "range(a,b)"),
    ]
)
_NESTED = st.recursive(
    st.one_of(_LEAVES, _INTERPOLATIONS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: f"[{','.join(parts)}]"),
        st.lists(inner, max_size=2).map(
            lambda parts: "{" + ",".join(f"k{i}:{part}" for i, part in enumerate(parts)) + "}"
        ),
    ),
    max_leaves=6,
)
_VALUES = st.one_of(_LEAVES, _INTERPOLATIONS, _SWEEPS, _NESTED)
_OVERRIDES = st.one_of(
    st.builds("{}{}={}".format, st.sampled_from(["", "", "", "+", "++", "~"]), _KEYS, _VALUES),
    st.builds("{}{}".format, st.sampled_from(["~", "+", "++", ""]), _KEYS),
)


def _parse(overrides: list[str]) -> Namespace:
    args = get_args_parser().parse_intermixed_args([])
    args.overrides = overrides
    return args


def _refusal(overrides: list[str], multirun: bool) -> str | None:
    """Return the refusal, None where it is accepted; any other error is the test's."""
    args = _parse(overrides)
    args.multirun = multirun
    try:
        if multirun:
            Jobs(args)
        else:
            plan.plan(args)
    except Refused as refusal:
        return str(refusal)
    except HYDRA_ERRORS as error:
        return sentence(error)
    return None


@_OPTIONS
@given(st.lists(_OVERRIDES, min_size=1, max_size=3))
def test_no_override_ends_in_a_traceback(overrides):
    text = _refusal(overrides, multirun=False)
    assert text is None or (text and "\n" not in text), shlex.join(overrides)


@_OPTIONS
@given(st.lists(_OVERRIDES, min_size=1, max_size=2))
def test_no_sweep_ends_in_a_traceback(overrides):
    text = _refusal(overrides, multirun=True)
    assert text is None or (text and "\n" not in text), shlex.join(overrides)


@_OPTIONS
@given(st.text(max_size=30))
def test_no_word_ends_in_a_traceback(word):
    text = _refusal([word], multirun=False)
    assert text is None or (text and "\n" not in text), repr(word)
