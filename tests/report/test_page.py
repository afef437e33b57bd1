"""The report as a browser shows it, on a phone and on a desk, in the light and in the dark."""

import numpy as np
import pytest

from svae.recording.folder import FAILED, FINISHED
from svae.report import summary
from tests.support.browser import CHROMIUM, Browser
from tests.support.reported import write_run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]
# what is wider than the window, hangs over its edge, or is cut where it stands
_OVERFLOW = """[...document.querySelectorAll('body *')].filter(element => {
  const box = element.getBoundingClientRect(), style = getComputedStyle(element);
  if (style.display === 'none' || box.width === 0) return false;
  const cut = style.overflowX !== 'visible' && element.scrollWidth > element.clientWidth + 1;
  return box.right > window.innerWidth + 0.5 || box.left < -0.5 || cut;
}).map(element => element.outerHTML.slice(0, 120))"""
# what is drawn outside of its chart
_OUTSIDE = """[...document.querySelectorAll('svg')].filter(svg => {
  const view = svg.viewBox.baseVal, box = svg.getBBox();
  return box.x < view.x - 1 || box.y < view.y - 1
    || box.x + box.width > view.x + view.width + 1 || box.y + box.height > view.y + view.height + 1;
}).map(svg => svg.getAttribute('aria-label'))"""
# contrast as WCAG 2 defines it, of every text with the ground of the page
_FAINT = """(() => {
  const linear = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = colour => {
    const [r, g, b] = colour.match(/[0-9.]+/g).map(Number).map(linear);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = light(getComputedStyle(document.body).backgroundColor);
  const contrast = colour => {
    const [low, high] = [ground, light(colour)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  return [...document.querySelectorAll('h1, h2, p, th, td, td *, code, li, figcaption')]
    .filter(element => contrast(getComputedStyle(element).color) < 4.5)
    .map(element => element.outerHTML.slice(0, 120));
})()"""
_LIGHTNESS = "getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number)"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The report of a sweep of twelve runs, one failed, with long words in it."""
    from matplotlib.image import imsave

    folder = tmp_path_factory.mktemp("a-sweep-with-a-long-name-" + "that-goes-on-" * 5)
    cases = [(m, d, s) for m in ("normal", "vmf") for d in (2, 5, 40) for s in (0, 1)]
    for number, (model, dimension, seed) in enumerate(cases):
        own = folder / str(number)
        fails = number == 5
        write_run(
            own,
            *(f"model={model}", f"latent_dim={dimension}", f"seed={seed}", "experiment=table1"),
            "trainer.learning_rate=0.00123456789",
            value=-88.0 - dimension - seed,
            state=FAILED if fails else FINISHED,
            error="ValueError: /a/path/" + "without/any/space" * 20 if fails else None,
            collapse="posterior" if dimension == 40 else "none",
        )
        (own / "plots").mkdir()
        imsave(own / "plots" / "samples.png", np.eye(32))
    summary.make([folder])
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 700, 1000, 1400])
def test_nothing_overflows_is_cut_or_is_faint(page, browser, tmp_path, width, scheme):
    browser.open(page, width, scheme)
    browser.screenshot(tmp_path / f"{width}-{scheme}.png")
    assert browser.evaluate("window.innerWidth") == width
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate(_OVERFLOW) == []
    assert browser.evaluate(_OUTSIDE) == []
    assert browser.evaluate(_FAINT) == []
    assert (np.mean(browser.evaluate(_LIGHTNESS)[:3]) < 64) == (scheme == "dark")
    pictures = "[...document.images].every(image => image.complete && image.naturalWidth > 0)"
    assert browser.evaluate(pictures)
    assert browser.evaluate("document.images.length") == 6
    assert [url for url in browser.requests if not url.startswith(("file:", "data:"))] == []
