"""Pydantic models of the header of a run, ``run.json``, and of a checkpoint's header.

Files of a run may come from elsewhere. Their headers are checked by these models before anything
in them is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from kfgn_graph.errors import CheckpointError
from kfgn_graph.program.spec.complaints import shown
from kfgn_graph.program.spec.limits import MOST

RUN_FORMAT = "kfgn-run-1"


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("has a NUL character")
    return text


Text = Annotated[str, AfterValidator(_without_nul)]
Count = Annotated[int, Field(ge=0, le=MOST)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Word = Annotated[int, Field(ge=0, lt=2**32)]
LongWord = Annotated[int, Field(ge=0, lt=2**128)]
Seconds = Annotated[float, Field(ge=0, le=1e15)]


class _Part(BaseModel):
    """A part of a header. Further keys, of later versions, are ignored."""

    model_config = ConfigDict(extra="ignore", strict=True)


class Machine(_Part):
    """The machine and the versions of a session, from :func:`machine_record`."""

    processor: str = ""
    cpus: Count = 0
    thread_settings: dict[str, str] = {}
    system: str = ""
    python: str = ""
    versions: dict[str, str] = {}
    command: str = ""


class Layer(_Part):
    """The name and the widths of a layer."""

    name: str
    inputs: Count
    outputs: Count


class Session(_Part):
    """An earlier session on another machine or with other versions."""

    until: Count
    machine: Machine


class RunHeader(_Part):
    """The content of ``run.json``. The spec has its own models."""

    format: Literal["kfgn-run-1"]
    spec: dict[str, Any]
    folder: Text
    machine: Machine
    created: str
    floor: Annotated[float, Field(allow_inf_nan=False)]
    data: str
    data_sha256: Sha256
    parameters: Count
    layers: list[Layer]
    earlier: list[Session] = []


class GeneratorState(_Part):
    """The two numbers of NumPy's PCG64 generator."""

    state: LongWord
    inc: LongWord


class Generator(_Part):
    """The state of NumPy's PCG64 generator."""

    bit_generator: Literal["PCG64"]
    state: GeneratorState
    has_uint32: Annotated[int, Field(ge=0, le=1)]
    uinteger: Word


class Order(_Part):
    """The position in the order of the data."""

    generator: Generator
    epoch: Count
    position: Count


class Counters(_Part):
    """The progress of a run."""

    update: Count
    seconds: Seconds
    lost: Count
    untaken: Count = 0


class MetricsRecord(_Part):
    """The metrics written up to a checkpoint: their length in bytes, and their SHA-256."""

    bytes: Count
    sha256: Sha256


class CheckpointHeader(_Part):
    """The header of a checkpoint."""

    format: Literal["kfgn-checkpoint-1"]
    spec: dict[str, Any]
    versions: dict[str, str]
    seed: Word
    data_sha256: Sha256
    order: Order
    counters: Counters
    processor: str | None = None
    metrics: MetricsRecord | None = None


def check_header(model: type[BaseModel], content: Mapping[str, Any], where: str) -> None:
    """Check a header by its model.

    Parameters
    ----------
    model : type of BaseModel
        :class:`RunHeader` or :class:`CheckpointHeader`.
    content : mapping
        The header.
    where : str
        The file, for the error message.

    Raises
    ------
    CheckpointError
        A key is missing, or a value has the wrong type or is out of its range.
    """
    try:
        model.model_validate(content)
    except ValidationError as error:
        raise CheckpointError(
            f"{where} is damaged or from another version: {_first(error)}."
        ) from None


def _first(error: ValidationError) -> str:
    """Return the first fault of a header: its key, the value found, and the rule."""
    part = error.errors(include_url=False)[0]
    key = ".".join(str(word) for word in part["loc"])
    if part["type"] == "missing":
        return f"{key} is missing"
    rule = part["msg"].removeprefix("Input ").removeprefix("String ")
    return f"{key}: found {shown(part['input'])}, but it {rule}"
