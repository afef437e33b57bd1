"""The terminal: any character, any encoding, streams that are closed or whose reader has gone."""

import io
import logging
import os
import subprocess
import sys

import pytest

from svae.recording import terminal
from svae.recording.console import Plain, Screen
from svae.recording.files import write_text
from svae.recording.folder import _log_to
from tests.conftest import QUICK

TEXT = "\N{MINUS SIGN}1 ± 2 é 日 \udcff"


@pytest.fixture(autouse=True)
def unheard(monkeypatch):
    """Keep what is logged from pytest, whose parallel workers cannot report the last character."""
    monkeypatch.setattr(logging.getLogger("svae"), "disabled", True)


@pytest.fixture
def streams(monkeypatch):
    """Let standard output and error be of an encoding; return what they write into."""

    def make(encoding):
        written = io.BytesIO()
        for name in ("stdout", "stderr"):
            stream = io.TextIOWrapper(written, encoding, write_through=True)
            monkeypatch.setattr(sys, name, stream)
        return written

    return make


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", "-1 +- 2 \\xe9 \\u65e5 \\udcff"),
        ("latin-1", "-1 ± 2 é \\u65e5 \\udcff"),
        ("cp1252", "-1 ± 2 é \\u65e5 \\udcff"),
        ("utf-8", "\N{MINUS SIGN}1 ± 2 é 日 \\udcff"),
    ],
)
def test_a_character_that_cannot_be_encoded_is_written_out(streams, encoding, shown):
    written = streams(encoding)
    terminal.prepare()
    print(TEXT)
    terminal.say(TEXT)
    Plain(width=100).print(TEXT)
    Screen().note(TEXT)
    Screen().results({"test/elbo": 1.0, "test/elbo_std": 2.0}, TEXT)
    assert written.getvalue().decode(encoding).count(shown) == 5


def test_closed_streams_lead_to_nowhere(monkeypatch):
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    terminal.prepare()
    opened = [sys.stdin, sys.stdout, sys.stderr]
    print(TEXT)
    terminal.say(TEXT)
    Screen().note(TEXT)
    assert opened[0].read() == ""
    for stream in opened:
        stream.close()


@pytest.mark.parametrize("error", [BrokenPipeError(32, "gone"), OSError(28, "No space left")])
def test_a_reader_that_has_gone_ends_nothing(monkeypatch, error):
    def write(_):
        raise error

    for name in ("stdout", "stderr"):
        stream = io.StringIO()
        stream.write = write
        monkeypatch.setattr(sys, name, stream)
    terminal.say(TEXT)
    Plain(width=100).print(TEXT)
    Screen().results({"test/elbo": 1.0}, "r")


def test_what_is_written_holds_any_text(tmp_path):
    write_text(tmp_path / "text", TEXT)
    log = _log_to(tmp_path / "log")
    log.handle(logging.makeLogRecord({"msg": TEXT}))  # nobody else is to hear it
    logging.getLogger("svae").removeHandler(log)
    log.close()
    for file in (tmp_path / "text", tmp_path / "log"):
        assert "\N{MINUS SIGN}1 ± 2 é 日 \\udcff" in file.read_text("utf-8")


def _shell(line, environment, folder):
    command = f'"{sys.executable}" -m svae {line}'
    return subprocess.run(["sh", "-c", command], cwd=folder, env=environment, check=False)


@pytest.mark.slow
@pytest.mark.parametrize(("line", "code"), [("--version", 0), ("nokey=3", 2), ("report=no", 2)])
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_change_no_exit_code(environment, tmp_path, line, code, closed):
    assert _shell(f"{line} {closed}", environment, tmp_path).returncode == code


@pytest.mark.slow
def test_a_run_with_closed_streams_writes_its_own_files_only(environment, tiny, tmp_path):
    words = " ".join([*QUICK, "dataset=array", f"dataset.file={tiny}", "hydra.run.dir=r"])
    done = _shell(f"{words} <&- >&- 2>&-", environment, tmp_path)
    assert done.returncode == 0
    log = (tmp_path / "r" / "svae-train.log").read_text()
    assert all(line[:2] == "20" for line in log.splitlines())
    assert os.path.getsize(tmp_path / "r" / ".lock") == 0
