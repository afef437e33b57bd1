"""The pictures of a finished run, one by one, as matplotlib figures."""

from collections.abc import Callable

from svae import build
from svae.configuration import trusted
from svae.plots import Drawings, Missing
from svae.recording import checkpoint
from svae.recording.saved import saved_config
from svae.tasks import common, task_of
from svae.training.streams import stream


class Plots:
    """What can be drawn of a run; each method returns a matplotlib figure.

    Curves, latent space, spreads and sampler are drawn from what the folder holds. The others show
    the data, too, which are read again.

    Raises:
        ValueError: by each method, when the run has no such picture, or its data are not there as
            they were.
    """

    def __init__(self, run):
        self._run = run

    def curves(self):
        """Draw every metric against the epoch."""
        return self._figure("curves")

    def latent(self):
        """Draw the posterior means of the test set, coloured by class."""
        return self._figure("latent")

    def spreads(self):
        """Draw histograms of the KL and of concentrations or deviations."""
        return self._figure("spreads")

    def sampler(self):
        """Draw what the sampler gives beside the density, of a von Mises-Fisher posterior."""
        return self._figure("sampler")

    def reconstructions(self):
        """Draw test images above their reconstructions."""
        return self._figure("reconstructions")

    def samples(self):
        """Draw images decoded from samples of the prior."""
        return self._figure("samples")

    def interpolations(self):
        """Draw the decoded ways between pairs of test images, along the geodesic."""
        return self._figure("interpolations")

    def walk(self):
        """Draw what decodes from a grid of the latent space, of two dimensions or one."""
        return self._figure("walk")

    def recovery(self):
        """Draw the known positions of a synthetic data set beside the posterior means."""
        return self._figure("recovery")

    def directions(self):
        """Draw observed directions beside those of the model."""
        return self._figure("directions")

    def confusion(self):
        """Draw the predicted classes of the test set by their labels, of few labels."""
        return self._figure("confusion")

    def classes(self):
        """Draw styles decoded from the prior with every class, of few labels."""
        return self._figure("classes")

    def styles(self):
        """Draw test images and the style of each with every class, of few labels."""
        return self._figure("styles")

    def links(self):
        """Draw how well the held-out edges of a graph are ranked."""
        return self._figure("links")

    def _figure(self, name: str):
        run, model = self._run, self._run.model()
        latents = run.latents
        title = "the nodes" if "is_edge" in latents else "the test set"
        drawings = common(model, run.history, latents, title)
        if name not in drawings:
            drawings |= self._of_data(model)
        if name not in drawings:
            raise ValueError(
                f"{name}: is no picture of this run, expected one of {', '.join(drawings)}"
            )
        return _drawn(name, drawings[name])

    def _of_data(self, model) -> Drawings:
        run = self._run
        config = saved_config(run.path)
        with trusted.vouching(run.trust):
            data = build.data(config).to(build.device(run.device))
        best = run.path / "checkpoints" / "best.pt"
        checkpoint.check_data(checkpoint.load(best, data.device), data, best)
        task = task_of(data.spec.kind, model, config.trainer.get("bound", "elbo"))
        generator = stream(data.device, config.seed, "plots")
        return task.figures(model, data, run.history, run.latents, generator)


def _drawn(name: str, draw: Callable):
    try:
        return draw()
    except Missing as missing:
        raise ValueError(f"{name}: cannot be drawn of this run ({missing})") from None
