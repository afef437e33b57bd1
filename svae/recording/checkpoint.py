"""Named state on disk: written atomically, read without running code, checked before it is used."""

import copy
import io
import pickle
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import torch
from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator
from torch import Tensor

from svae.data.splits import DataSet
from svae.recording import table
from svae.recording.files import read_own, write_atomically
from svae.recording.table import Table
from svae.training.averaging import MEAN
from svae.training.learner import START, Epoch


class Unusable(ValueError):
    """A checkpoint is missing, damaged, or of another run; says which and what was expected."""


class OtherData(Unusable):
    """A checkpoint is good, and of other data than those of now."""


@dataclass(frozen=True)
class State:
    """A run after an epoch: all that the next one depends on, and the best so far.

    `tensors` are those of model and optimiser, `rows` the metrics of the epochs that are not on
    disk yet, of a state that was read those of every epoch; `restarts` how often it went back to a
    good epoch, `best` what best.pt holds.
    """

    tensors: dict
    epoch: Epoch = START
    rows: list[dict] = field(default_factory=list)
    restarts: int = 0
    best: dict = field(default_factory=dict)

    def content(self, table: Table) -> dict:
        """Return what last.pt holds; `table` has the metrics of every epoch."""
        return {
            **self.tensors,
            "epoch": asdict(self.epoch),
            "table": {"rows": table.rows, "sha256": table.sha256},
            "restarts": self.restarts,
            "best": self.best,
        }


def save(path: Path, content: dict) -> None:
    """Write `content` to `path` so that a reader finds the old or the new file, never a part.

    Raises:
        OSError: when the disk is full or the folder is gone.
    """
    # not into the file: torch's writer hides the system's error behind one of its own
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomically(path, buffer.getbuffer())


def load(path: Path, device: torch.device | str = "cpu") -> dict:
    """Read what `save` wrote; nothing in the file is run.

    Raises:
        Unusable: when there is no such file or it is no checkpoint.
    """
    try:
        written = read_own(path.parent, path.name)
        with zipfile.ZipFile(io.BytesIO(written)) as archive:
            # `save` does not compress: what does may fill any memory
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise Unusable(f"{path}: not a readable checkpoint (compressed)")
            if archive.testzip() is not None:  # torch does not look at the checksums
                raise Unusable(f"{path}: not a readable checkpoint (a checksum is wrong)")
        content = torch.load(io.BytesIO(written), map_location=device, weights_only=True)
    except FileNotFoundError:
        raise Unusable(f"{path}: no such checkpoint") from None
    except Unusable:
        raise
    except pickle.UnpicklingError:  # whose text advises to trust the file
        text = "holds more than tensors, texts and numbers"
        raise Unusable(f"{path}: not a readable checkpoint ({text})") from None
    except Exception as error:  # the reader's own errors are of every kind
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise Unusable(f"{path}: not a readable checkpoint ({reason})") from None
    if not isinstance(content, dict):
        raise Unusable(f"{path}: not a checkpoint, but a {type(content).__name__}")
    return content


def tensors(model, optimizer, spare: dict | None = None) -> dict:
    """Return a copy of the tensors of `model` and `optimizer`, but for the means, which last.

    It takes the memory of `spare`, an earlier copy that is not needed any more, unless that was
    made before the optimiser had a state: a run of short epochs does little else between them.
    """
    found = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    theirs, places = _altered(found), _altered(spare) if spare else []
    if len(theirs) != len(places):
        return _copied(found)
    torch._foreach_copy_(places, theirs)
    # its groups, of settings alone, are made anew by torch
    state = {
        number: {**spare["optimizer"]["state"][number], **_means(own)}
        for number, own in found["optimizer"]["state"].items()
    }
    return {**spare, "optimizer": {**found["optimizer"], "state": state}}


def _altered(found: dict) -> list[Tensor]:
    """Return the tensors that training alters in place."""
    parts = [found["model"], *found["optimizer"]["state"].values()]
    values = (value for part in parts for name, value in part.items() if name != MEAN)
    return [value for value in values if isinstance(value, Tensor)]


def _means(state: dict) -> dict:
    return {MEAN: state[MEAN]} if MEAN in state else {}


def _copied(value: Any) -> Any:
    """Return what `copy.deepcopy` does of tensors in dictionaries, in a tenth of its time."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if not isinstance(value, dict):
        return copy.deepcopy(value)
    copied = copy.copy(value)  # keeps the versions of modules beside the names of their tensors
    for name, own in value.items():
        copied[name] = _copied(own)
    return copied


def put_back(state: State, model, optimizer) -> None:
    """Put the tensors of a state into `model` and `optimizer`."""
    model.load_state_dict(state.tensors["model"])
    # a copy: the optimiser would go on in the tensors that it is given
    optimizer.load_state_dict(_copied(state.tensors["optimizer"]))


def restore(path: Path, model, optimizer) -> State:
    """Read last.pt and the table, put the tensors into `model` and `optimizer`, return the state.

    Nothing is changed unless all of it fits. Nothing of the file is used as it lies there, but
    copies of what was checked, laid out in memory as the model is.

    Raises:
        Unusable: when it is damaged, or that of another model, or the table is not that of then.
    """
    content = load(path, next(model.parameters()).device)
    if "best" not in content:  # earlier versions kept it in best.pt alone
        content["best"] = load(path.with_name("best.pt"))
    checked = _check(_Last, content, path)
    rows = _rows(checked, content, path)
    for part in (content, content["best"]):
        check_model(part, model, path)
    moments = _moments(content.get("optimizer"), optimizer, path)
    best = _like(model.state_dict(), content["best"]["model"])
    model.load_state_dict(content["model"])
    # its groups are ours: they are settings, not state
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    return State(
        tensors=tensors(model, optimizer),
        epoch=Epoch(**checked.epoch.model_dump()),
        rows=rows,
        restarts=checked.restarts,
        best={"model": best, **checked.best.model_dump(exclude_unset=True)},
    )


def _rows(checked: "_Last", content: dict, path: Path) -> list[dict]:
    """Return the metrics of every epoch, of which last.pt has the hash: it had all of them once."""
    if checked.table is not None:
        file = path.parents[1] / "metrics.csv"
        try:
            content = {**content, "history": table.read(file, **checked.table.model_dump())}
        except ValueError as error:
            raise Unusable(str(error)) from None
        path = file
    return [row.model_dump() for row in _check(_History, content, path).history]


def restore_model(state: dict, model, path: Path) -> None:
    """Put the model's tensors of a checkpoint into `model`.

    Raises:
        Unusable: when they are those of another model.
    """
    check_model(state, model, path)
    model.load_state_dict(state["model"])


def check_best(state: Any, path: Path) -> None:
    """Check what best.pt says besides its tensors: from which epoch, and of what data."""
    _check(_Best, state, path)


def check_data(best: Any, data: DataSet, path: Path) -> None:
    """Check that what best.pt says of its data holds of `data`; earlier versions say nothing.

    Raises:
        OtherData: when the data are others, or the same and split otherwise.
    """
    best = best if isinstance(best, dict) else {}
    of_split = "another split" if best.get("data_hash") else "other data or another split"
    for name, words in (("data_hash", "other data"), ("split_hash", of_split)):
        then, now = best.get(name), getattr(data, name)
        if then is not None and now is not None and then != now:
            raise OtherData(
                f"{path}: was trained on {words} than `dataset` gives now ({name} {str(then)[:8]} "
                f"then, {now[:8]} now), expected the data of then"
            )


def check_model(state: dict, model, path: Path) -> None:
    """Check that the tensors of a checkpoint are those of `model`, and finite."""
    theirs = state.get("model")
    if not isinstance(theirs, dict) or not theirs:
        raise Unusable(f"{path}: expected the tensors of a model")
    _check_tensors(theirs, model.state_dict(), f"{path}: does not fit this model: ")


def _moments(state: Any, optimizer, path: Path) -> dict[int, dict[str, Tensor]]:
    """Return what an optimiser knows by the number of its parameter, laid out in memory as that is.

    A wrong shape among it ends the process without a word, and so do numbers that share memory.
    """
    found = {}
    parameters = [(p, group) for group in optimizer.param_groups for p in group["params"]]
    theirs = state.get("state") if isinstance(state, dict) else None
    if not isinstance(theirs, dict) or theirs.keys() != set(range(len(parameters))):
        raise Unusable(f"{path}: expected the optimiser's state of {len(parameters)} parameters")
    for number, (parameter, group) in enumerate(parameters):
        own, step = theirs[number], parameter.new_zeros((), dtype=torch.float32)
        like = {"step": step, "exp_avg": parameter, "exp_avg_sq": parameter}
        if group.get("muon"):
            like = {"momentum_buffer": parameter}
        if not isinstance(own, dict) or own.keys() - {MEAN} != like.keys():
            raise Unusable(f"{path}: expected the optimiser's {', '.join(like)}")
        like = {name: like.get(name, parameter) for name in own}
        _check_tensors(own, like, f"{path}: the optimiser's ")
        for name in own.keys() & {"step", "exp_avg_sq"}:
            if (own[name] < 0).any():
                raise Unusable(f"{path}: the optimiser's {name}: expected no negative number")
        found[number] = _like(like, own)
    return found


def _like(like: dict[str, Tensor], found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the numbers of `found`, laid out in memory as `like`."""
    return {name: torch.empty_like(v).copy_(found[name].detach()) for name, v in like.items()}


def _check_tensors(found: dict, like: dict[str, Tensor], place: str) -> None:
    """Check that `found` has tensors as those of `like`, of finite numbers."""
    if missing := like.keys() - found.keys():
        raise Unusable(f"{place}{min(missing)} is not there")
    if more := found.keys() - like.keys():  # of any type and length
        name = min(f"{key:.60}" if isinstance(key, str) else f"{key!r:.20}" for key in more)
        raise Unusable(f"{place}{name} is only there")
    for name, ours in like.items():
        value = found[name]
        if not isinstance(value, Tensor):
            raise Unusable(f"{place}{name}: expected a tensor, got {type(value).__name__}")
        if value.is_nested:
            raise Unusable(f"{place}{name}: expected a tensor, got a nested one")
        expected = (ours.shape, ours.dtype, torch.strided, False)
        if (value.shape, value.dtype, value.layout, value.is_meta) != expected:
            raise Unusable(
                f"{place}{name}: expected {ours.dtype} of shape {tuple(ours.shape)}, got "
                f"{value.dtype} of shape {tuple(value.shape)}"
            )
        if not value.isfinite().all():
            raise Unusable(f"{place}{name}: expected finite numbers")


# what stands in a checkpoint besides tensors

_Kind = TypeVar("_Kind", bound=BaseModel)


def _plain(name: str) -> str:
    if not (name.isprintable() and name[:1].isalnum() and len(name) <= 200):
        raise ValueError("expected names such as val/elbo")
    return name


_Count = Annotated[int, Field(ge=1, lt=2**31)]
_Kinds = Annotated[str, Field(pattern="^(bool|u?int(8|16|32|64)|float(16|32|64))$")]
_Name = Annotated[str, AfterValidator(_plain)]  # it becomes the head of a column


class _Epoch(BaseModel, strict=True, allow_inf_nan=False, extra="forbid"):
    number: _Count
    metrics: dict[_Name, float]
    best_epoch: _Count
    best_value: float


class _Row(BaseModel, strict=True, allow_inf_nan=False, extra="allow"):
    __pydantic_extra__: dict[_Name, float]
    epoch: _Count
    seconds: Annotated[float, Field(ge=0, le=1e12)]  # so that their sum is a number


class _Units(BaseModel, strict=True, extra="forbid"):
    shape: list[_Count] = Field(min_length=1, max_length=8)
    divisors: dict[_Kinds, _Count] = Field(min_length=1, max_length=16)
    highest: _Count | None
    is_direction: bool
    channels: _Count | None = Field(None, le=7)
    angles: Literal["degrees", "radians", "unwrapped"] | None = None
    first: float = Field(0.0, allow_inf_nan=False)


class _Best(BaseModel, strict=True):
    epoch: _Count
    features: _Count
    likelihood: str
    # earlier versions kept none
    image_shape: list[_Count] | None = Field(None, min_length=2, max_length=3)
    classes: Annotated[int, Field(ge=0, lt=2**31)] = 0
    data_hash: str | None = None
    split_hash: str | None = None
    units: _Units | None = None


class _Table(BaseModel, strict=True, extra="forbid"):
    rows: _Count
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class _Last(BaseModel, strict=True):
    epoch: _Epoch
    table: _Table | None = None  # earlier versions kept the history in its place
    restarts: Annotated[int, Field(ge=0, lt=2**31)]
    best: _Best

    @model_validator(mode="after")
    def _agrees(self) -> "_Last":
        last = self.epoch.number
        if self.table and self.table.rows != last:
            raise ValueError(f"expected a table of {last} epochs")
        if self.epoch.best_epoch > last:
            raise ValueError(f"expected a best epoch from 1 up to {last}")
        return self


class _History(BaseModel, strict=True):
    epoch: _Epoch
    history: list[_Row]

    @model_validator(mode="after")
    def _agrees(self) -> "_History":
        last = self.epoch.number
        epochs = [row.epoch for row in self.history]
        if len(epochs) != last or epochs != list(range(1, last + 1)):
            raise ValueError(f"expected a history of {last} epochs")
        return self


def _check(kind: type[_Kind], content: Any, path: Path) -> _Kind:
    """Return what a checkpoint holds besides tensors, as plain values of the types of `kind`.

    Raises:
        Unusable: when it does not hold what `kind` says; names the part that differs.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        # of what stands there nothing is shown: it may be of any length
        first = error.errors(include_input=False, include_context=False)[0]
        reason = first["msg"].removeprefix("Value error, ").partition(" or instance of ")[0]
        words = [str(path), *first["loc"][:1], reason.replace("Input should be", "expected")]
        raise Unusable(": ".join(words)) from None
