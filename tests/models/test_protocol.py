"""What classes of one's own are refused for, by some that fall short."""

import re

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn
from torch.distributions import Bernoulli, Independent, Normal

from svae import build as objects
from svae import experiment
from svae.configuration import trusted
from svae.data.splits import DataSet, Split
from svae.distributions import DiagonalNormal, Draw, StandardNormal
from svae.manifolds import Euclidean
from svae.models import protocol
from svae.models.dense import AutoEncoder
from svae.models.latent import NormalFamily
from svae.models.likelihoods import likelihood_family


class Family(NormalFamily):
    def prior(self, like):
        return StandardNormal(self.manifold.dim, device=like.device)


class Network(AutoEncoder):
    def __init__(self, features, latent, likelihood):
        super().__init__(features, latent, likelihood, hidden=(4,))


class Probabilities(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.width = features

    def forward(self, decoded):
        return Independent(Bernoulli(logits=decoded, validate_args=False), 1)


def load(likelihood=Probabilities, values=None, labels=None, image_shape=(2, 3), **_):
    values = torch.eye(9)[:, :6] if values is None else values
    split = Split(values, labels)
    return DataSet(split, split, split, likelihood, image_shape)


class NoManifold:
    parameters = 4
    posterior = prior = summary = print

    def __init__(self, latent_dim):
        pass


class NoGeometry(Family):
    def __init__(self, latent_dim):
        super().__init__(latent_dim)
        self.manifold = "sphere"


class Point:
    """Has a part of what a manifold has."""

    ambient_dim = 2
    geodesic = distances = print

    @property
    def path(self):
        raise KeyError("path")


class HalfManifold(Family):
    def __init__(self, latent_dim):
        super().__init__(latent_dim)
        self.manifold = Point()


class NoParameters(Family):
    def __init__(self, latent_dim):
        super().__init__(latent_dim)
        self.parameters = 0


class Raising(Family):
    def __init__(self, latent_dim):
        raise KeyError("rank")


class RaisingLate(Family):
    def posterior(self, features):
        return features / features.missing


class NoLaw(Family):
    def posterior(self, features):
        return features


class NoDraw(Family):
    def posterior(self, features):
        loc, scale = features.chunk(2, -1)
        return Independent(Normal(loc, scale.exp()), 1)


class Wide(Family):
    def posterior(self, features):
        loc, scale = features.chunk(2, -1)
        return DiagonalNormal(loc[None], scale[None].exp())


class Law(DiagonalNormal):
    def __init__(self, loc, scale):
        super().__init__(loc, scale, validate_args=False)


class OfLaw(Family):
    law = Law

    def posterior(self, features):
        loc, scale = features.chunk(2, -1)
        return self.law(loc, scale.exp())


class Own(Law):
    def draw(self, shape=(), generator=None):
        return super().draw(shape)


class Detached(Law):
    def draw(self, shape=(), generator=None):
        return Draw.direct(super().draw(shape, generator).value.detach())


class Tensors(Law):
    def draw(self, shape=(), generator=None):
        return super().draw(shape, generator).value


class Unsummed(Law):
    def log_prob(self, value):
        return Normal(self.loc, self.scale).log_prob(value)


class Infinite(Law):
    def log_prob(self, value):
        return super().log_prob(value) / 0


class Unregistered(torch.distributions.Distribution):
    arg_constraints = {}

    def __init__(self, loc, scale):
        self.law = DiagonalNormal(loc, scale)
        super().__init__(self.law.batch_shape, self.law.event_shape, validate_args=False)

    def draw(self, shape=(), generator=None):
        return self.law.draw(shape, generator)

    def log_prob(self, value):
        return self.law.log_prob(value)


class DrawsAnew(OfLaw):
    law = Own


class DrawsDetached(OfLaw):
    law = Detached


class DrawsTensors(OfLaw):
    law = Tensors


class LogProbUnsummed(OfLaw):
    law = Unsummed


class LogProbInfinite(OfLaw):
    law = Infinite


class NoKL(OfLaw):
    law = Unregistered


class Taken(Family):
    def summary(self, posterior):
        return {"kl": posterior.loc.sum(-1)}


class Shell(Euclidean):
    def contains(self, points):
        return False


class NoUnit(Family):
    def __init__(self, latent_dim):
        super().__init__(latent_dim)
        self.manifold = Shell(latent_dim)


class NoProposals(OfLaw):
    class law(Law):
        def draw(self, shape=(), generator=None):
            draw = super().draw(shape, generator)
            return draw._replace(proposals=torch.zeros_like(draw.proposals))


class NoPrior(nn.Linear):
    posterior = likelihood = print

    def __init__(self, features, latent, likelihood):
        super().__init__(1, 1)
        self.latent = latent


class NoModule:
    def __init__(self, features, latent, likelihood):
        pass


class NoFeatures(Network):
    def __init__(self, size, latent, likelihood):
        super().__init__(size, latent, likelihood)


class NoWidth(Probabilities):
    def __init__(self, features):
        nn.Module.__init__(self)


class NoLogProb(Probabilities):
    def forward(self, decoded):
        return decoded


class Summed(Probabilities):
    def forward(self, decoded):
        return Bernoulli(logits=decoded, validate_args=False)


def no_data():
    return {"train": []}


def no_width():
    return load(NoWidth)


def no_log_prob():
    return load(NoLogProb)


def summed():
    return load(Summed)


def local():
    class Inner(Probabilities):
        pass

    return load(Inner)


def unknown():
    return load("poison")


def doubles():
    return load(values=torch.rand(9, 6).double())


def floating_labels():
    return load(labels=torch.rand(9))


def long_pictures():
    return load(image_shape=(7, 7))


def two_channels():
    return load(image_shape=(2, 1, 3))


def bytes_as_measurements():
    return load("gaussian", values=torch.zeros(9, 6, dtype=torch.uint8))


def floating_levels():
    return load("discretised_logistic", values=torch.zeros(9, 6))


def build(trainer=None, **targets):
    """Prepare a run, of classes of this module by the names of these."""
    chosen = {"model": "Family", "network": "Network", "dataset": "load", **targets}
    names = {k: v if "." in v else f"{__name__}.{v}" for k, v in chosen.items()}
    nodes = {group: {"_target_": name} for group, name in names.items()}
    config = {"latent_dim": 2, "seed": 0, "device": "cpu", "precision": "float32", "threads": None}
    with trusted.vouching(typed=[f"_target_={node['_target_']}" for node in nodes.values()]):
        return experiment.prepare(OmegaConf.create({**config, **nodes, "trainer": trainer or {}}))


@pytest.mark.parametrize(
    ("group", "target", "words"),
    [
        ("model", "NoManifold", "has no `manifold`, expected one of svae.manifolds: Sphere(d), "),
        ("model", "NoGeometry", "has 'sphere' as `manifold`, expected one of svae.manifolds: "),
        ("model", "HalfManifold", "as `manifold`, expected one of svae.manifolds: Sphere(d), "),
        ("model", "NoParameters", "has 0 as `parameters`, expected how many"),
        ("model", "Raising", r"raised KeyError: 'rank' (HERE:"),
        ("model", "RaisingLate", r"raised AttributeError: 'Tensor' object has no attribute"),
        ("model", "NoLaw", "gives a Tensor as posterior, expected a torch Distribution"),
        ("model", "NoDraw", "gives a posterior without `draw`, expected draw(shape, generator)"),
        ("model", "Wide", "batch shape (1, 2) and event shape (2,), expected (2,) and (2,)"),
        ("model", "DrawsAnew", "draws anew from an equal generator, expected all random numbers"),
        ("model", "DrawsDetached", "draws without a gradient, expected samples that depend"),
        ("model", "DrawsTensors", "draws a Tensor, expected an svae.distributions.Draw"),
        ("model", "LogProbUnsummed", "gives log_prob of the posterior of shape (3, 2, 2)"),
        ("model", "LogProbInfinite", "gives log_prob of the posterior that are not all finite"),
        ("model", "NoKL", "has no KL of tests.models.test_protocol.Unregistered and"),
        ("model", "Taken", "gives the summary {'kl': "),
        (
            "model",
            "NoUnit",
            "draws vectors that do not lie on its `manifold`, expected R^2",
        ),
        ("model", "NoProposals", "counts less than one proposal for a draw, expected 1 where"),
        ("network", "NoPrior", "has no `prior`, expected a method that makes p(z)"),
        ("network", "NoModule", "is no torch.nn.Module, expected one"),
        ("network", "NoFeatures", "does not take `features`, expected the arguments features"),
        ("dataset", "no_data", "gives a dict, expected an svae.data.splits.DataSet"),
        ("dataset", "no_width", "NoWidth has no `width`, expected how many numbers"),
        ("dataset", "no_log_prob", "NoLogProb raised AttributeError: 'Tensor' object has no"),
        ("dataset", "summed", "Summed gives log_prob of the likelihood of shape (3, 2, 6)"),
        ("dataset", "local", "which its module does not hold, expected a class at the top"),
        ("dataset", "unknown", "has the likelihood poison, expected bernoulli, gaussian"),
        ("dataset", "doubles", "has train values of torch.float64, expected torch.float32"),
        ("dataset", "floating_labels", "has train labels torch.float32 of shape (9,), expected"),
        ("dataset", "long_pictures", "has the image_shape (7, 7), expected (height, width) of 6"),
        ("dataset", "two_channels", "has the image_shape (2, 1, 3), expected (height, width) of"),
        ("dataset", "bytes_as_measurements", "has train values of torch.uint8, expected torch.fl"),
        ("dataset", "floating_levels", "has train values of torch.float32, expected torch.uint8"),
    ],
)
def test_what_falls_short_is_refused_in_a_sentence(group, target, words):
    with pytest.raises(ValueError, match=re.escape(words.replace("HERE", __file__))) as refused:
        build(**{group: target})
    assert "\n" not in str(refused.value)
    if " raised " not in str(refused.value) and target != "NoFeatures":
        assert str(refused.value).endswith(" gives")


def test_a_saved_likelihood_is_looked_for_in_one_module():
    assert protocol.find_likelihood(f"{__name__}.Probabilities", load) is Probabilities
    for name in ("subprocess.Popen", "pathlib.Path", "torch.nn.modules.linear.Linear"):
        assert protocol.find_likelihood(name, load) is None


class Normalised(Network):
    def __init__(self, features, latent, likelihood, **keys):
        super().__init__(features, latent, likelihood_family(likelihood, features).__class__)
        self.encoder.insert(0, nn.BatchNorm1d(features))
        self.encoder.append(nn.Dropout(0.5))


def test_the_dry_run_leaves_no_trace():
    state = torch.get_rng_state()
    (prepared,) = build(network="Normalised")
    assert torch.equal(torch.get_rng_state(), state)
    normalisation = prepared.model.encoder[0]
    assert normalisation.num_batches_tracked == 0
    assert not normalisation.running_mean.any()


class OneGenerator(OfLaw):
    class law(Law):
        def draw(self, shape=(), generator=None):
            noise = torch.randn(shape + self.loc.shape, generator=generator)
            return Draw.direct(self.loc + self.scale * noise)


def test_replicas_need_a_draw_by_several_generators():
    replicas = {"trainer": {"replicas": 2}}
    assert len(build(**replicas)) == 2
    build(model="OneGenerator")
    with pytest.raises(ValueError, match=r"OneGenerator raised TypeError: .* \(.*test_protocol"):
        build(model="OneGenerator", **replicas)


class AnyKey(Family):
    def __init__(self, latent_dim, **keys):
        super().__init__(latent_dim)
        self.keys = keys


def test_a_signature_with_any_keys_takes_any_key():
    names = [f"{__name__}.{name}" for name in ("AnyKey", "Family")]
    with trusted.vouching(typed=[f"_target_={name}" for name in names]):
        takes, refuses = (OmegaConf.create({"_target_": name, "rank": 3}) for name in names)
        assert objects._instantiate(takes, "model", latent_dim=2).keys == {"rank": 3}
        with pytest.raises(ValueError, match=r"model\.rank: .*Family has no such option"):
            objects._instantiate(refuses, "model", latent_dim=2)


class Meanless(OfLaw):
    class law(Law):
        @property
        def mean(self):
            raise NotImplementedError


@pytest.mark.slow  # to import torch_geometric
def test_links_are_ranked_by_means():
    graph = {
        "network": "svae.models.graph.GraphAutoEncoder",
        "dataset": "svae.data.sphere_graph.load",
    }
    build(model="OfLaw", **graph)
    with pytest.raises(ValueError, match="without `mean`, expected the means, by which links"):
        build(model="Meanless", **graph)
