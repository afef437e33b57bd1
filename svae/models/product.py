"""The latent family of a product of spheres and Euclidean spaces."""

import re

import torch
from torch import Tensor
from torch.distributions import Distribution

from svae.distributions import Product
from svae.manifolds import Product as ProductManifold
from svae.models.latent import NormalFamily, VonMisesFisherFamily, blocks_of

_FACTOR = re.compile(r"([SR])([1-9]\d{0,4})")


class ProductFamily:
    """Independent posteriors on factors such as S^9, S^9 and R^2, each with its own prior.

    On a sphere von Mises-Fisher with the uniform prior, else Gaussian; the encoder gives the
    numbers of one factor after another's. Factors of one kind are drawn at once, wherever they
    stand.

    Args:
        latent_dim: the sum of the dimensions of the factors.
        factors: their names, such as ["S9", "S9", "R2"].
        sampler, gradient, initial_concentration, link: of the spheres, see `VonMisesFisherFamily`.

    Raises:
        ValueError: for another name, or dimensions that do not add up to latent_dim.

    Reference: Davidson, Tomczak and Gavves 2019, "Increasing expressivity of a hyperspherical VAE",
    arXiv 1910.02912.
    """

    def __init__(
        self,
        latent_dim: int,
        factors: list[str],
        sampler: str = "rejection",
        gradient: str = "implicit",
        initial_concentration: float | str | None = None,
        link: str | None = None,
    ):
        options = (sampler, gradient, initial_concentration, link)
        families = {name: factor_family(name, *options) for name in factors}
        total = sum(families[name].manifold.dim for name in factors)
        if total != latent_dim:
            shown = f"[{','.join(factors)}]"
            raise ValueError(
                f"model.factors={shown}: have {total} dimensions in all, and latent_dim is "
                f"{latent_dim}; expected both to be the same"
            )
        self.manifold = ProductManifold(*(families[name].manifold for name in factors))
        self._widths = [families[name].parameters for name in factors]
        self.parameters = sum(self._widths)
        self.blocks = tuple(block for name in factors for block in blocks_of(families[name]))
        self.is_normalised = all(getattr(f, "is_normalised", False) for f in families.values())
        # factors of one kind, and where each of them stands
        self._families = list(families.values())
        self._places = [[i for i, own in enumerate(factors) if own == name] for name in families]
        numbered = [place for places in self._places for place in places]
        self._order = [numbered.index(place) for place in range(len(factors))]

    def posterior(self, features: Tensor) -> Distribution:
        parts = features.split(self._widths, -1)
        groups = [
            family.posterior(torch.stack([parts[place] for place in places]))
            for family, places in zip(self._families, self._places, strict=True)
        ]
        return self._product(groups)

    def prior(self, like: Tensor) -> Distribution:
        return self._product([family.prior(like) for family in self._families])

    def _product(self, groups: list[Distribution]) -> Product:
        return Product(groups, list(map(len, self._places)), self._order, validate_args=False)

    def summary(self, posterior: Distribution) -> dict[str, Tensor]:
        """Return what is worth logging of the spheres and of the rest, averaged over factors."""
        totals = {}
        for family, group in zip(self._families, posterior.groups, strict=True):
            for name, value in family.summary(group).items():
                totals.setdefault(name, []).append(value)
        return {name: torch.cat(values).mean(0) for name, values in totals.items()}


def factor_family(name: str, *options, **more) -> NormalFamily | VonMisesFisherFamily:
    """Return the family on a space such as S9 or R2; the options are those of a sphere.

    Raises:
        ValueError: for another name.
    """
    found = _FACTOR.fullmatch(name)
    if not found:
        raise ValueError(f"model.factors: expected names such as S9 or R2, got {name}")
    kind, dim = found[1], int(found[2])
    return VonMisesFisherFamily(dim, *options, **more) if kind == "S" else NormalFamily(dim)
