"""What the documents say can be followed: links resolve and commands are accepted."""

import importlib.util
import re
import shlex
from functools import cache
from pathlib import Path

import pytest
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from svae.configuration import compose
from svae.configuration.checks import key_of, without_effect
from svae.configuration.messages import Refused
from svae.configuration.words import GROUPS

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))


def _prose(page: Path) -> str:
    """Return a page without its code blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)


@cache
def _anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", _prose(page), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def _broken(page: Path) -> list[str]:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
        path, _, anchor = link.partition("#")
        if "://" in path:
            continue
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_images_resolve(page):
    assert _broken(page) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_are_short(page):
    text = page.read_text()
    assert len(text.splitlines()) <= (150 if page.name == "README.md" else 250)
    if page == ROOT / "README.md":
        assert len(text.split()) <= 1200


def test_the_index_names_every_page():
    linked = set(re.findall(r"\]\((\S+\.md)\)", (ROOT / "docs" / "README.md").read_text()))
    pages = {page.name for page in (ROOT / "docs").glob("*.md")}
    assert pages - linked == {"README.md"}


def _code(page: Path) -> list[str]:
    """Return the lines of a page's code blocks, and its inline code (also in tables)."""
    text = page.read_text()
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, flags=re.M | re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    inline = re.findall(r"`([^`]+)`", _prose(page))
    return [part.strip() for line in (*lines, *inline) for part in line.split("&&")]


def _is_template(command: str) -> bool:
    """Say whether a command has a part that a reader fills in: `...`, FOLDER, DATE/TIME, [key]."""
    words = shlex.split(command, comments=True)
    values = [word.split("=", 1)[-1] for word in words[1:]]
    return any(re.search(r"\.\.\.|\b[A-Z_]{3,}\b|^\[key", value) for value in values)


def _needs_an_extra(command: str) -> bool:
    return re.search(r"\b(search|cluster|hydra/launcher)=", command) is not None


CODE = sorted({line for page in PAGES for line in _code(page)})
COMMANDS = [line for line in CODE if line.split()[:1] == ["svae-train"]]
TYPED = [line for line in COMMANDS if not _is_template(line) and not _needs_an_extra(line)]
MODULES = sorted({name for line in CODE for name in re.findall(r"python -m ([\w.]+)", line)})


def _jobs(overrides: list[Override]) -> list[list[str]]:
    """Return a job of every key's first value, and one more for each other value."""
    values = [
        list(o.sweep_string_iterator()) if o.is_sweep_override() else [o.get_value_element_as_str()]
        for o in overrides
    ]
    keys = [o.get_key_element() for o in overrides]
    firsts = [f"{key}={found[0]}" for key, found in zip(keys, values, strict=True)]
    others = [
        [*firsts[:place], f"{key}={value}", *firsts[place + 1 :]]
        for place, (key, found) in enumerate(zip(keys, values, strict=True))
        for value in found[1:]
    ]
    return [firsts, *others]


@cache
def _composed(choices: tuple[str, ...]) -> DictConfig:
    """Return what choices of groups compose to; to compose is what takes time."""
    return compose.composed(get_args_parser().parse_args([]), list(choices))


def _check(job: list[str]) -> None:
    """Check a job by what the program checks it by, with its values laid over its choices."""
    is_choice = {line: key_of(line) in GROUPS for line in job}
    whole = _composed(tuple(line for line in job if is_choice[line]))
    config = compose.task(whole)
    for key, value in compose.values([line for line in job if not is_choice[line]]).items():
        if not key.startswith("hydra."):
            OmegaConf.update(config, key, value)
        elif OmegaConf.select(whole, key) is None:
            raise Refused(f"{key}: no such key")
    compose.check(config)
    plain = OmegaConf.to_container(config, resolve=False)
    if without_effect(plain, job):
        raise Refused(f"{job}: has no effect")


def _refusal(command: str) -> str | None:
    """Return why the program would refuse a command, or None; nothing is made."""
    args = get_args_parser().parse_intermixed_args(shlex.split(command, comments=True)[1:])
    overrides = OverridesParser.create().parse_overrides(args.overrides)
    if not args.multirun and any(override.is_sweep_override() for override in overrides):
        return f"{command}: several values need -m"
    try:
        for job in _jobs(overrides):
            _check(job)
    except (Refused, HydraException, OmegaConfBaseException) as error:
        return str(error)
    return None


def test_there_are_commands():
    assert len(TYPED) > 20


@pytest.mark.parametrize("command", TYPED)
def test_commands_are_accepted(command):
    assert _refusal(command) is None


@pytest.mark.parametrize("module", MODULES)
def test_modules_exist(module):
    assert importlib.util.find_spec(module) is not None


def test_the_lines_that_others_read_stand_in_readme():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert "pip install -c constraints.txt -e . && svae-train model=vmf latent_dim=10" in lines
    assert "pip install -c constraints.txt -e '.[test]' && pytest" in lines


def test_what_is_wrong_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A page\n[a](#a-page) [b](#none) ![c](none.png) [d](https://x.org/y)\n")
    assert _broken(page) == ["#none", "none.png"]
    assert "latent_dimm" in _refusal("svae-train latent_dimm=3")
    assert "latent_dim=0: expected" in _refusal("svae-train -m latent_dim=2,0")
    assert "model/vfm" in _refusal("svae-train -m model=normal,vfm")
    assert "hydra.sweep.dri" in _refusal("svae-train -m seed=0,1 hydra.sweep.dri=x")
    assert "need -m" in _refusal("svae-train latent_dim=2,5")
    assert "no effect" in _refusal("svae-train experiment=sampler_check latent_dim=3")
    assert _is_template("svae-train resume=outputs/DATE/TIME")
    assert not _is_template("svae-train logger.mode=disabled seed=0")
