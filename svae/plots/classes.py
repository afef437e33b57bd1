"""What a model has learnt of classes: its mistakes, and images by class and style."""

import numpy as np
import torch
from matplotlib.figure import Figure

from svae.data.splits import MISSING, DataSet
from svae.plots import Missing
from svae.plots.decoded import draw_rows, mean_of
from svae.plots.style import BRIEF, Classes, figure


def confusion(latents: dict[str, np.ndarray]) -> Figure:
    """Draw how many of the observations of each class are predicted to be of each.

    Raises:
        Missing: without labels of the test set.
    """
    known = latents["labels"] != MISSING
    labels, predicted = latents["labels"][known], latents["predicted"][known]
    if not len(labels):
        raise Missing("no labels")
    classes = Classes(np.concatenate([labels, predicted]), latents.get("class_names", ()))
    texts = [classes.text(number) for number in classes.found]
    counts = np.zeros((len(texts), len(texts)), int)
    np.add.at(counts, tuple(classes.ranks.reshape(2, -1)), 1)
    side = 2 + 0.5 * len(texts)
    accuracy = (labels == predicted).mean()
    chart = figure(side + 0.6, side, f"classes of the test set, {accuracy:.2%} predicted rightly")
    axes = chart.subplots()
    shares = counts / counts.sum(1, keepdims=True).clip(min=1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if shares[row, column] > 0.5 else "black"
        if count:
            axes.text(column, row, count, ha="center", va="center", color=colour, fontsize="small")
    axes.set(xlabel="predicted", ylabel="label")
    turned = {"rotation": 40, "ha": "right"} if max(map(len, texts)) > BRIEF else {}
    axes.set_xticks(range(len(texts)), texts, rotation_mode="anchor", **turned)
    axes.set_yticks(range(len(texts)), texts)
    return chart


@torch.no_grad()
def drawn_styles(model, data: DataSet, generator: torch.Generator, rows: int = 10) -> Figure:
    """Draw the mean image of each class, a column, for styles from their prior, a row each."""
    styles = model.style_prior().draw((rows,), generator).value
    images = _of_every_class(model, styles)
    title = "a column for each class, in each row one style drawn from the prior"
    return draw_rows(_sheet(images, title), images.flatten(0, 1), data, rows=rows)


@torch.no_grad()
def styles_of_images(model, data: DataSet, generator: torch.Generator, rows: int = 10) -> Figure:
    """Draw test images, and beside each its style with every class.

    The style is the location of q(z2|z1,y) at that of q(z1|x), for the likeliest class.
    """
    observed = data.test.observe(slice(0, rows), generator)
    loc = model.posterior(observed).loc
    likeliest = model.class_logits(loc).argmax(-1)
    styles = model.style_posteriors(loc).loc[likeliest, torch.arange(len(loc))]
    images = torch.cat([observed.unsqueeze(1), _of_every_class(model, styles)], 1)
    title = "test images (left), and the style of each with every class"
    return draw_rows(_sheet(images, title), images.flatten(0, 1), data, rows=len(images))


def _of_every_class(model, styles: torch.Tensor) -> torch.Tensor:
    """Return mean images (rows, K, D) of styles (rows, m2)."""
    latent = model.latent_given(styles.unsqueeze(0)).mean
    if model.latent.manifold.is_compact:  # the mean of a law on a sphere lies within it
        latent = torch.nn.functional.normalize(latent, dim=-1)
    return mean_of(model, latent).movedim(0, 1)


def _sheet(images: torch.Tensor, title: str) -> Figure:
    rows, columns = images.shape[:2]
    return figure(0.6 * columns, 0.6 * rows + 0.5, title)
