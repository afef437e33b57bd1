"""docs/library.md, which is followed from its first line to its last."""

import re
from pathlib import Path

import pytest
from matplotlib.image import imread

PAGE = (Path(__file__).parent.parent / "docs" / "library.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


def test_the_first_picture_takes_at_most_twenty_lines():
    assert "savefig" in BLOCKS[0]
    assert len(BLOCKS[0].splitlines()) <= 20


@pytest.mark.slow
def test_the_page_runs_as_a_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in BLOCKS:
        exec(compile(block, "docs/library.md", "exec"), names)
    picture = imread(tmp_path / "digits.png")
    assert picture[..., :3].std() > 0.1  # something is drawn
    assert names["decoded"].shape == (1797, 8, 8)
    assert 8 < names["decoded"].max() <= 16
    assert names["walk"].shape == (5, 8, 8)
    assert names["accuracy"].mean() > 0.8
    assert names["concentration"].shape == names["bounds"].shape == (1797,)
