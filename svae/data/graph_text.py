"""A graph in text: an edge list, or a folder of CSV files.

An edge list has two nodes a line, separated by a comma or by white space, as `networkx` writes it;
what follows on a line is not used, lines that begin with # are comments. Its nodes are the names
that occur, whatever they are but decimals. A first line of names of columns is left out.

A folder has an edge list `edges.csv` and, where there are such, `features.csv` and `labels.csv`, a
line for each node. Where these begin with a column `node`, edges name nodes as it does; else nodes
are numbered by the lines, from 0. The first line of each may hold names of columns.
"""

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from svae.data.graph_parts import Parts, feature_matrix

_HEADS = {"source", "target", "from", "to", "src", "dst", "u", "v", "node1", "node2", "id1", "id2"}
_NODE = "node"
_SUFFIXES = (".csv", ".edgelist", ".edges", ".tsv", ".txt", "")


def read(path: Path) -> Parts:
    """Return what an edge list or a folder holds.

    Raises:
        ValueError: when something cannot be read, or is not as said above.
    """
    if path.is_dir():
        return _folder(path)
    if path.suffix not in _SUFFIXES:  # lines of other formats may be two words, too
        known = ", ".join(filter(None, _SUFFIXES))
        raise ValueError(f"dataset.file={path}: expected .npz, a folder, or an edge list ({known})")
    edges, notes = _edges(path)
    names = sorted({name for pair in edges for name in pair}, key=_natural)
    return Parts(_numbered(edges, names, path), nodes=len(names), notes=notes)


def _folder(folder: Path) -> Parts:
    files = {name: folder / f"{name}.csv" for name in ("edges", "features", "labels")}
    if not files["edges"].is_file():
        raise ValueError(f"dataset.file={folder}: expected edges.csv in the folder, found none")
    edges, notes = _edges(files["edges"])
    tables = {
        name: _table(file) for name, file in files.items() if name != "edges" and file.exists()
    }
    names = _names(tables, folder)
    rows = {name: _in_order(table, names, files[name]) for name, table in tables.items()}
    features, labels, class_names = None, None, []
    if "features" in rows:
        features = feature_matrix(_numbers(rows["features"], files["features"]))
    if "labels" in rows:
        labels, class_names = _labels(rows["labels"], files["labels"])
    nodes = None if names is None else len(names)
    if names is None:
        pairs = _integers(edges, files["edges"])
    else:
        pairs = _numbered(edges, names, files["edges"])
    return Parts(pairs, features, labels, nodes, notes, class_names)


class _Table:
    """The lines of a CSV file: the names of nodes, where it has them, and the other cells."""

    def __init__(self, names: list[str] | None, cells: list[list[str]]):
        self.names, self.cells = names, cells


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise ValueError(f"dataset.file={path}: expected a readable text file ({reason})") from None
    return [line.strip() for line in text.splitlines()]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split(",")] if "," in line else line.split()


def _rows(path: Path) -> Iterable[tuple[int, list[str]]]:
    """Yield the number and the cells of each line that is neither empty nor a comment."""
    for number, line in enumerate(_lines(path), 1):
        if line and not line.startswith("#"):
            yield number, _cells(line)


def _edges(path: Path) -> tuple[list[tuple[str, str]], tuple[str, ...]]:
    """Return the pairs of names, and what is not used."""
    edges, has_more = [], False
    for number, cells in _without_head(list(_rows(path))):
        if len(cells) < 2 or not all(cells[:2]):
            raise ValueError(
                f"{path}: line {number}: expected two nodes, found {' '.join(cells)!r}"
            )
        if any("." in cell and _is_number(cell) for cell in cells[:2]):
            raise ValueError(
                f"{path}: line {number}: expected two nodes, found the decimals "
                f"{' '.join(cells[:2])}"
            )
        edges.append((cells[0], cells[1]))
        has_more |= any(cell != "{}" for cell in cells[2:])
    if not edges:
        raise ValueError(f"{path}: expected lines of two nodes each, found none")
    return edges, ("what follows two nodes on a line is not used",) if has_more else ()


def _without_head(rows: list[tuple[int, list[str]]]) -> list[tuple[int, list[str]]]:
    """Return the lines of an edge list but for a first one that names columns."""
    first, *others = [cells[:2] for _, cells in rows] or [[]]
    is_named = {cell.lower() for cell in first} <= _HEADS
    return rows[1:] if is_named or (others and _is_head(first, others)) else rows


def _table(path: Path) -> _Table:
    rows = list(_rows(path))
    if not rows:
        raise ValueError(f"{path}: expected a line for each node, found none")
    first = rows[0][1]
    has_names = first[0].lower() == _NODE
    if has_names or _is_head(first, [cells for _, cells in islice(rows, 1, None)]):
        rows = rows[1:]
    width = len(first)
    for number, cells in rows:
        if len(cells) != width:
            raise ValueError(f"{path}: line {number}: {len(cells)} cells, expected {width}")
    if width < 1 + has_names or not rows:
        raise ValueError(f"{path}: expected lines with a cell beside the node, found none")
    names = [cells[0] for _, cells in rows] if has_names else None
    return _Table(names, [cells[has_names:] for _, cells in rows])


def _is_head(first: Sequence[str], others: list[list[str]]) -> bool:
    """Tell whether a line holds words where all other lines hold numbers, or says "label"."""
    if [cell.lower() for cell in first] in (["label"], ["labels"], ["class"]):
        return True
    return not any(map(_is_number, first)) and all(map(_is_number, (c for r in others for c in r)))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _names(tables: dict[str, _Table], folder: Path) -> list[str] | None:
    """Return the names of the nodes in the order of features, else of labels; None: numbers."""
    named = [name for name, table in tables.items() if table.names is not None]
    if not named:
        return None
    if len(named) < len(tables):
        other = next(name for name in tables if name not in named)
        raise ValueError(f"{folder}: {named[0]}.csv has a column {_NODE}, and {other}.csv has none")
    for name in named:
        found = tables[name].names
        if len(set(found)) < len(found):
            twice = next(own for place, own in enumerate(found) if own in found[:place])
            raise ValueError(f"{folder / name}.csv: has node {twice} twice, expected each once")
    return tables[named[0]].names


def _in_order(table: _Table, names: list[str] | None, path: Path) -> list[list[str]]:
    if names is None:
        return table.cells
    places = {name: place for place, name in enumerate(table.names)}
    for one, other in ((names, places), (places, dict.fromkeys(names))):
        if missing := next((name for name in one if name not in other), None):
            raise ValueError(f"{path}: node {missing} is not in both features.csv and labels.csv")
    return [table.cells[places[name]] for name in names]


def _numbered(edges: list[tuple[str, str]], names: list[str], path: Path) -> np.ndarray:
    numbers = {name: number for number, name in enumerate(names)}
    try:
        return np.array([(numbers[i], numbers[j]) for i, j in edges], np.int64).T
    except KeyError as error:
        raise ValueError(f"{path}: an edge to {error.args[0]}, which is no node") from None


def _integers(edges: list[tuple[str, str]], path: Path) -> np.ndarray:
    try:
        return np.array([(int(i), int(j)) for i, j in edges], np.int64).T
    except (ValueError, OverflowError):
        names = (name for pair in edges for name in pair)
        bad = next((name for name in names if not name.removeprefix("-").isdecimal()), "any number")
        raise ValueError(
            f"{path}: an edge to {bad}, expected numbers of lines, or a column {_NODE} in "
            "features.csv or labels.csv"
        ) from None


def _numbers(rows: list[list[str]], path: Path) -> np.ndarray:
    try:
        return np.array(rows, dtype=np.float64)
    except ValueError:
        bad = next(cell for row in rows for cell in row if not _is_number(cell))
        raise ValueError(f"{path}: expected numbers, found {bad!r}") from None


def _labels(rows: list[list[str]], path: Path) -> tuple[np.ndarray, list[str]]:
    """Return labels as 0, 1, ... in their natural order, and what they were."""
    if len(rows[0]) != 1:
        raise ValueError(f"{path}: {len(rows[0])} labels of a node, expected one")
    names = sorted({row[0] for row in rows}, key=_natural)
    numbers = {name: number for number, name in enumerate(names)}
    return np.array([numbers[row[0]] for row in rows]), names


def _natural(name: str) -> tuple[bool, int, str]:
    """Return what sorts whole numbers by their size, and words after them."""
    is_number = name.isdecimal()
    return not is_number, int(name) if is_number else 0, name
