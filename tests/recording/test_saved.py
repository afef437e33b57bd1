"""What a run folder from elsewhere says: read without running anything, or refused."""

import os

import pytest
from omegaconf import OmegaConf

from svae.recording.folder import RunFolder, read_status
from svae.recording.saved import saved_config, saved_overrides

CONFIG = OmegaConf.create(
    {"latent_dim": 3, "model": {"_target_": "svae.models.latent.NormalFamily"}}
)
BOMB = "a: &a [x, x, x, x]\nb: &b [*a, *a, *a, *a]\nc: &c [*b, *b, *b, *b]\n"


@pytest.fixture
def folder(tmp_path):
    RunFolder.claim(tmp_path / "r", CONFIG, ["latent_dim=3"]).close()
    return tmp_path / "r"


DAMAGED = [
    (b"", "expected"),
    (b"- 1\n- 2\n", "expected"),
    (b"3\n", "expected"),
    (b"a: [1\nb: {", "expected YAML"),
    (b"\xff\xfe\x00x", "expected YAML"),
    (b"\x00", "expected YAML"),
    (BOMB.encode(), "YAML aliases are not allowed"),
    (b"x: 1\n" * 100_000, "expected at most 262144 bytes"),
    (b"[" * 5_000, "expected YAML"),
    (b"- !!python/object/apply:os.system ['touch PWNED']\n", "expected YAML"),
    (b"- !!python/name:os.system\n", "expected YAML"),
]


@pytest.mark.parametrize(("content", "words"), DAMAGED, ids=lambda v: str(v)[:25])
@pytest.mark.parametrize(
    ("name", "read"), [("config.yaml", saved_config), (".hydra/overrides.yaml", saved_overrides)]
)
def test_a_damaged_record_is_refused(folder, monkeypatch, name, read, content, words):
    monkeypatch.chdir(folder)
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=words) as refusal:
        read(folder)
    assert "\n" not in str(refusal.value)
    assert not (folder / "PWNED").exists()


@pytest.mark.parametrize("name", [".lock", "svae-train.log", "checkpoints", "plots", "config.yaml"])
def test_a_folder_whose_parts_lie_elsewhere_is_refused(folder, tmp_path, name):
    target = tmp_path / "precious"
    target.write_text("precious")
    (folder / name).unlink(missing_ok=True)
    os.symlink(target, folder / name)
    with pytest.raises(ValueError, match="links are not allowed in a run folder"):
        RunFolder.reopen(folder)
    assert target.read_text() == "precious"


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", "{}", "null", "\x00", "[" * 100_000),
        *('{"state": "running"}', '{"state": 3, "epoch": 1}'),
        *('{"state": "finished", "epoch": "1"}', '{"state": "finished", "epoch": -1}'),
    ],
    ids=lambda text: text[:30],
)
def test_a_damaged_status_is_that_of_a_run_that_was_interrupted(folder, content):
    (folder / "status.json").write_text(content)
    assert read_status(folder) == {"state": "interrupted", "epoch": 0, "error": None}
