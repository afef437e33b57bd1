"""What a report reads and writes, for its tests."""

import json
from html.parser import HTMLParser

import numpy as np
from omegaconf import OmegaConf

from svae.recording.folder import FINISHED
from tests.support.composed import composed


def write_run(folder, *overrides, value=-90.0, state=FINISHED, error=None, collapse="none"):
    """Write what a run leaves that the report reads."""
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text(OmegaConf.to_yaml(list(overrides)))
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(composed(*overrides)))
    status = {"state": state, "epoch": 2, "error": error}
    (folder / "status.json").write_text(json.dumps(status))
    (folder / "metrics.csv").write_text("epoch,val/elbo,seconds\n1,-200,1.5\n2,-100,1.25\n")
    if state == FINISHED:
        names = ("log_likelihood", "elbo", "kl", "acceptance_rate")
        results = {
            f"test/{n}": v for n, v in zip(names, (value, value - 5, 20.0, 0.75), strict=True)
        }
        results |= {"seconds": 2.75, "device": "cpu", "versions": {"torch": "2"}}
        results["collapse"] = collapse
        (folder / "results.json").write_text(json.dumps(results))
        if "model=vmf" in overrides:
            loc = np.tile(np.eye(4, dtype=np.float32)[0], (5, 1))
            concentration = np.full(5, 10.0, np.float32)
            np.savez(folder / "latents.npz", loc=loc, concentration=concentration)


class Page(HTMLParser):
    """The page's parts: text, and what a browser would fetch."""

    def __init__(self, text):
        super().__init__()
        self.text, self.sources, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.sources += [v for k, v in attrs if k in ("src", "href", "xlink:href")]
        if tag not in ("meta", "img", "br", "use", "path", "rect", "line", "circle"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in self.open:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def page_of(folder):
    return (folder / "report.html").read_text()
