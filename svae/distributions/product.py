"""Independent factors on a product of spaces, those of one kind drawn at once."""

from collections.abc import Iterable, Sequence

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints, kl_divergence, register_kl

from svae.distributions.draw import Draw
from svae.distributions.validation import refuse_listed
from svae.noise import Source


class Product(Distribution):
    """Independent factors, their coordinates one after another.

    Factors of one kind are a group, one distribution of batch shape (k, ...) for k of them, which
    ten circles draw from as fast as one circle does from a batch ten times as large. A group of
    batch shape () stands for k factors of the same law, as in a prior.

    Args:
        groups: distributions over vectors, of batch shapes (k, ...) or ().
        counts: k of each group.
        order: the factors, numbered group by group, as their coordinates follow each other; by
            default in this order.

    Raises:
        ValueError: if there is no group or a count below 1, a batch shape does not begin with k,
            the rest of it differs between groups, or `order` does not name every factor once.
    """

    arg_constraints = {}

    def __init__(
        self,
        groups: Sequence[Distribution],
        counts: Sequence[int],
        order: Sequence[int] | None = None,
        *,
        validate_args: bool | None = None,
    ):
        self.groups, self.counts = tuple(groups), tuple(counts)
        if not self.groups or len(self.groups) != len(self.counts) or min(self.counts) < 1:
            raise ValueError(
                f"a product needs groups and for each a count from 1 up, got {len(self.groups)} "
                f"groups and the counts {self.counts}"
            )
        self.order = tuple(range(sum(counts))) if order is None else tuple(order)
        if sorted(self.order) != list(range(sum(counts))):
            raise ValueError(f"order needs 0 to {sum(counts) - 1}, each once, got {self.order}")
        batches = set()
        for group, count in self._parts():
            if group.batch_shape[:1] not in (Size(), Size((count,))):
                raise ValueError(
                    f"{count} factors need a batch shape that begins with {count}, got "
                    f"{tuple(group.batch_shape)}"
                )
            batches |= {group.batch_shape[1:]} if group.batch_shape else set()
        if len(batches) > 1:
            shapes = " and ".join(sorted(str(tuple(batch)) for batch in batches))
            raise ValueError(
                f"groups need one batch shape behind that of the factors, got {shapes}"
            )
        self._depth = len(next(iter(batches), ()))  # batch axes behind that of the factors
        self._sizes = [group.event_shape[0] for group, count in self._parts() for _ in range(count)]
        super().__init__(
            batches.pop() if batches else Size(),
            Size((sum(self._sizes),)),
            validate_args=validate_args,
        )

    def _parts(self) -> Iterable[tuple[Distribution, int]]:
        return zip(self.groups, self.counts, strict=True)

    @property
    def support(self) -> constraints.Constraint:
        return _Supports(self)

    @property
    def has_rsample(self) -> bool:
        """Whether a sample alone carries its gradient."""
        return all(group.has_rsample for group in self.groups)

    def expand(self, batch_shape, _instance=None):
        new = self._get_checked_instance(Product, _instance)
        new.counts, new.order, new._sizes = self.counts, self.order, self._sizes
        new._depth = self._depth
        new.groups = tuple(
            group.expand(new._with_factors(batch_shape, count)) if group.batch_shape else group
            for group, count in self._parts()
        )
        super(Product, new).__init__(Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def _with_factors(self, batch: Sequence[int], count: int) -> tuple[int, ...]:
        """Return the batch shape of a group of `count` factors."""
        place = len(batch) - self._depth
        return (*batch[:place], count, *batch[place:])

    def _whole(self) -> Iterable[Distribution]:
        """Return the groups, those that stand for factors of one law as one law for each."""
        for group, count in self._parts():
            shape = self._with_factors(self.batch_shape, count)
            yield group if group.batch_shape else group.expand(shape)

    def _joined(self, values: Iterable[Tensor]) -> Tensor:
        """Return the coordinates (..., m) of groups' (..., k, batch, m)."""
        factors = [factor for value in values for factor in value.unbind(-2 - self._depth)]
        return torch.cat([factors[number] for number in self.order], -1)

    def split(self, value: Tensor) -> list[Tensor]:
        """Return of coordinates (..., m) those of each group, (..., k, batch, m_k)."""
        sizes = [self._sizes[number] for number in self.order]
        found = dict(zip(self.order, value.split(sizes, -1), strict=True))
        factors = iter(found[number] for number in range(len(self.order)))
        groups = ([next(factors) for _ in range(count)] for count in self.counts)
        return [torch.stack(group, -2 - self._depth) for group in groups]

    def draw(self, shape: int | Iterable[int] = (), generator: Source = None) -> Draw:
        """Return samples; `proposals` is the mean over the factors."""
        draws, axis = [], -1 - self._depth
        for group in self._whole():
            draws.append(group.draw(shape, generator))
        value = self._joined(draw.value for draw in draws)
        log_weight = sum(draw.log_weight.sum(axis) for draw in draws)
        proposals = sum(draw.proposals.sum(axis) for draw in draws) / len(self.order)
        return Draw(value, log_weight, proposals)

    def rsample(self, sample_shape=()) -> Tensor:
        """Return samples whose gradient is that of an expectation.

        Raises:
            ValueError: where a factor's gradient is not in its samples alone.
        """
        for group in self.groups:
            if not group.has_rsample:
                group.rsample()  # says why not
        return self.draw(sample_shape).value

    def sample(self, sample_shape=()) -> Tensor:
        with torch.no_grad():
            return self.draw(sample_shape).value

    def log_prob(self, value: Tensor) -> Tensor:
        refuse_listed(value)
        if value.shape[-1:] != self.event_shape:
            raise ValueError(
                f"values need {self.event_shape[0]} coordinates, got shape {tuple(value.shape)}"
            )
        parts = zip(self.groups, self.split(value), strict=True)
        return sum(group.log_prob(part).sum(-1 - self._depth) for group, part in parts)

    def entropy(self) -> Tensor:
        return sum(group.entropy().sum(-1 - self._depth) for group in self._whole())

    @property
    def mean(self) -> Tensor:
        return self._parameter("mean")

    @property
    def mode(self) -> Tensor:
        return self._parameter("mode")

    @property
    def variance(self) -> Tensor:
        return self._parameter("variance")

    @property
    def loc(self) -> Tensor:
        """The locations of the factors, (..., m)."""
        return self._parameter("loc")

    def _parameter(self, name: str) -> Tensor:
        return self._joined(getattr(group, name) for group in self._whole())


class _Supports(constraints.Constraint):
    """The coordinates of each factor in its own support."""

    event_dim = 1

    def __init__(self, product: Product):
        self._product = product

    def check(self, value: Tensor) -> Tensor:
        axis = -1 - self._product._depth
        parts = zip(self._product.groups, self._product.split(value), strict=True)
        return torch.stack([group.support.check(part).all(axis) for group, part in parts]).all(0)


@register_kl(Product, Product)
def _kl_product_product(p: Product, q: Product) -> Tensor:
    if (p.counts, p.order) != (q.counts, q.order):
        raise ValueError("a divergence needs products of the same factors in the same order")
    total = 0
    for own, other, count in zip(p.groups, q.groups, p.counts, strict=True):
        depths = {product._depth for product, g in ((p, own), (q, other)) if g.batch_shape}
        if len(depths) > 1:
            shapes = f"{tuple(own.batch_shape)} and {tuple(other.batch_shape)}"
            raise ValueError(f"a divergence needs groups of one batch shape, got {shapes}")
        value = kl_divergence(own, other)
        total = total + (value.sum(-1 - depths.pop()) if depths else count * value)
    return total.expand(torch.broadcast_shapes(total.shape, p.batch_shape, q.batch_shape))
