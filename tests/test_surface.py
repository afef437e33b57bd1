"""Whatever is typed, the program accepts it or refuses it in one sentence: properties."""

import shlex
from argparse import Namespace

from hydra._internal.utils import get_args_parser
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from svae import compose
from svae.multirun import Multirun
from svae.refusals import HYDRA_ERRORS, Refused, sentence
from svae.settings import GROUPS, KEYS

_OPTIONS = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,  # a build that fails once fails always
    suppress_health_check=list(HealthCheck),
)
_KEYS = st.one_of(
    st.sampled_from(sorted(KEYS)),
    st.sampled_from(GROUPS),
    st.sampled_from(["hydra.run.dir", "hydra.sweep.dir", "hydra.job.num", "model._target_"]),
    st.text(max_size=12),
)
_VALUES = st.one_of(
    st.integers().map(str),
    st.floats().map(repr),
    st.booleans().map(str),
    st.sampled_from(["null", "", "[]", "{}", "???", "${seed}", "${oc.env:HOME}", "${nope:1}"]),
    st.sampled_from(["vmf", "cora", "array", "gcn", "none", "a,b", "range(1,3)", "glob(*)"]),
    st.lists(st.integers(), max_size=3).map(str),
    st.text(max_size=20),
)
_OVERRIDES = st.builds(
    "{}{}={}".format, st.sampled_from(["", "", "", "+", "++", "~"]), _KEYS, _VALUES
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
            Multirun(args)
        else:
            compose.plan(args)
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
