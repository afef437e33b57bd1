"""Reads what W&B wrote offline: a LevelDB log of protocol-buffer records."""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from wandb.proto import wandb_internal_pb2 as protocol

_BLOCK = 32768
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


@dataclass
class Records:
    """Everything that stands in all offline files of one run folder."""

    epochs: list[int] = field(default_factory=list)
    history: list[dict] = field(default_factory=list)
    config: dict = field(default_factory=dict)
    summary: dict = field(default_factory=dict)
    metrics: dict = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)
    group: str = ""
    exit_code: int | None = None
    ids: set[str] = field(default_factory=set)
    artifacts: dict[str, set[str]] = field(default_factory=dict)


def read_records(folder: Path) -> Records:
    """Read the offline files below the run folder `folder`."""
    records = Records()
    for file in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        for content in _scan(file.read_bytes()):
            record = protocol.Record.FromString(content)
            _collect(records, record)
    return records


def _collect(records: Records, record) -> None:
    kind = record.WhichOneof("record_type")
    if kind == "history":
        row = {_key(item): json.loads(item.value_json) for item in record.history.item}
        records.history.append(row)
        if "epoch" in row:
            records.epochs.append(row["epoch"])
    elif kind == "run":
        records.ids.add(record.run.run_id)
        records.group = record.run.run_group
        records.tags = list(record.run.tags)
        records.config |= {_key(i): json.loads(i.value_json) for i in record.run.config.update}
    elif kind == "summary":
        records.summary |= {_key(i): json.loads(i.value_json) for i in record.summary.update}
    elif kind == "metric":
        name = record.metric.name or record.metric.glob_name
        records.metrics[name] = record.metric.step_metric or None
    elif kind == "request" and record.request.HasField("log_artifact"):
        artifact = record.request.log_artifact.artifact
        records.artifacts[artifact.name] = {entry.path for entry in artifact.manifest.contents}
    elif kind == "artifact":
        artifact = record.artifact
        records.artifacts[artifact.name] = {entry.path for entry in artifact.manifest.contents}
    elif kind == "exit":
        records.exit_code = record.exit.exit_code


def _key(item) -> str:
    return item.key or ".".join(item.nested_key)


def _scan(data: bytes) -> Iterator[bytes]:
    """Yield the records of a log whose first seven bytes are W&B's own header."""
    position, parts = 7, []
    while position + 7 <= len(data):
        left = _BLOCK - position % _BLOCK
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        parts.append(data[position + 7 : position + 7 + length])
        position += 7 + length
        if kind in (_FULL, _LAST):
            yield b"".join(parts)
            parts = []
