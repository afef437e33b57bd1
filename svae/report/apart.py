"""Which runs a mean may be taken over: those of the same data, each seed once for each split."""

from collections.abc import Hashable, Iterable, Sequence

from svae.report.entry import Entry

_SPLITS = ("split_hash", "split")  # the second is that of runs of before


def sample(config: dict) -> tuple[str, str]:
    """Return seed and split seed of a run: of two equal runs they tell whether one is a repetition.

    The split seed is that of the data set, as far as it has one.
    """
    dataset, seed = config.get("dataset"), str(config.get("seed"))
    split = str(dataset.get("split_seed")) if isinstance(dataset, dict) else "None"
    return seed, seed if split == "${seed}" else split


def first_of_each(runs: Iterable[Entry]) -> list[Entry]:
    """Return the runs in their order, without those that repeat the sample of an earlier one."""
    found = {}
    for run in runs:
        found.setdefault(sample(run.config), run)
    return list(found.values())


def parts(runs: Iterable[Entry]) -> list[list[Entry]]:
    """Return runs that differ in nothing but the seed in parts, each of the same data.

    And of the same split for each split seed. What a run does not say, as one of before or one that
    has not ended, agrees with everything.
    """
    found = []
    for run in runs:
        own = next((part for part in found if all(_agree(run, other) for other in part)), None)
        if own is None:
            found.append([run])
        else:
            own.append(run)
    return found


def _agree(run: Entry, other: Entry) -> bool:
    names = ["data_hash"]
    if sample(run.config)[1] == sample(other.config)[1]:
        names += _SPLITS
    pairs = ((_hash(run, name), _hash(other, name)) for name in names)
    return all(not (one and two) or one == two for one, two in pairs)


def _hash(run: Entry, name: str) -> str:
    """Return the beginning of a hash, nothing where a run has none."""
    value = run.results.get(name)
    return value[:8] if isinstance(value, str) else ""


def names(groups: Sequence[Sequence[Entry]]) -> dict[Hashable, str]:
    """Return {path: name} of the data of each run, nothing where no group is of several data."""
    apart = [parts(runs) for runs in groups]
    if all(len(own) == 1 for own in apart):
        return {}
    found = {}
    for own in apart:
        words = [_first(part, ("data_hash",)) or "unknown" for part in own]
        if len(set(words)) < len(words):
            splits = (_first(part, _SPLITS) for part in own)
            words = [f"{data} split {split}" for data, split in zip(words, splits, strict=True)]
        for part, name in zip(own, words, strict=True):
            found |= {run.run.path: name for run in part}
    return found


def _first(part: Iterable[Entry], names: Iterable[str]) -> str:
    return next((found for run in part for name in names if (found := _hash(run, name))), "")


def reasons(groups: Sequence[Sequence[Entry]]) -> list[str]:
    """Say which runs were not averaged with those that they differ from in the data alone."""
    found = []
    for first, *others in map(parts, groups):
        for part in others:
            more = f" and {len(part) - 1} more" if len(part) > 1 else ""
            data = {_first(own, ("data_hash",)) for own in (first, part)} - {""}
            what = "other data" if len(data) > 1 else "another split of the data"
            found.append(
                f"{part[0].run.path}{more}: saw {what} than {first[0].run.path}, "
                "no mean is over both"
            )
    return found
