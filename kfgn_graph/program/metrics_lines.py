"""The lines of a metrics file: checked one by one, and kept up to an update."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from kfgn_graph.errors import CheckpointError
from kfgn_graph.program.keys import unique_keys
from kfgn_graph.program.spec.limits import MOST
from kfgn_graph.program.storage import read_bytes

Line = dict[str, Any]
LARGEST = 2**32
"""Largest size in bytes of a metrics file, about ten million updates."""
NOTHING = -1
"""The number before all updates: no line is kept, or no update has been evaluated."""

Number = Annotated[float, Field(allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, le=1e15)]
Update = Annotated[int, Field(ge=0, le=MOST)]


class UpdateLine(BaseModel):
    """A line of an update. Further keys are statistics of the method."""

    model_config = ConfigDict(extra="allow", strict=True)
    __pydantic_extra__: dict[str, Number | bool | None] = Field(init=False)

    kind: Literal["update"]
    update: Annotated[int, Field(ge=1, le=MOST)]
    seconds: Seconds
    loss: Number | None
    skipped: bool | None = None
    rejected: bool | None = None
    clamped: bool | None = None
    flat: bool | None = None


class EvaluationLine(BaseModel):
    """A line of an evaluation on the whole training set."""

    model_config = ConfigDict(extra="allow", strict=True)
    __pydantic_extra__: dict[str, Number | bool | None] = Field(init=False)

    kind: Literal["evaluation"]
    update: Update
    seconds: Seconds
    loss: Number | None
    averaged_loss: Number | None = None
    accuracy: Annotated[float, Field(ge=0, le=1)] | None = None


_LINE: TypeAdapter[UpdateLine | EvaluationLine] = TypeAdapter(
    Annotated[UpdateLine | EvaluationLine, Field(discriminator="kind")]
)


@dataclass(frozen=True)
class LeadingLines:
    """The leading lines of a metrics file, up to an update.

    Attributes
    ----------
    length : int
        Their size in bytes.
    hash : hashlib object
        The SHA-256 of their bytes, to be continued with the lines that follow.
    evaluated : int
        The update of their last evaluation; -1 if there is none.
    rest : bytes
        The bytes of the file after them.
    """

    length: int
    hash: Any
    evaluated: int
    rest: bytes = field(repr=False)


def complete_lines(path: Path) -> list[bytes]:
    """Return the lines of a metrics file, without a last line that was not written to its end.

    Raises
    ------
    CheckpointError
        The file cannot be read.
    """
    whole, _, _ = read_bytes(path, LARGEST).rpartition(b"\n")
    return whole.split(b"\n") if whole else []


def parsed_line(path: Path, number: int, text: bytes) -> Line:
    """Return a line of metrics.

    Parameters
    ----------
    path : Path
        The file, for the error message.
    number : int
        The number of the line, from 1.
    text : bytes
        The line.

    Raises
    ------
    CheckpointError
        It is not a metrics line.
    """
    try:
        line = json.loads(text.decode(), object_pairs_hook=unique_keys)
        _LINE.validate_python(line)
    except (ValueError, RecursionError) as error:
        _refuse(path, number, error)
    return line


def leading_lines(path: Path, update: int, whole: bool = False) -> LeadingLines:
    """Return the leading lines of a metrics file up to and including those of an update.

    Parameters
    ----------
    path : Path
        The file; if it does not exist, it has no lines.
    update : int
        The last update whose lines are kept; -1 keeps nothing.
    whole : bool
        Whether the lines of later updates are checked as well.

    Raises
    ------
    CheckpointError
        A line is damaged, or an update up to ``update`` has no line.
    """
    content = read_bytes(path, LARGEST) if path.exists() else b""
    length, evaluated, last = 0, NOTHING, 0
    lines = complete_lines(path) if content and (whole or update != NOTHING) else []
    for number, text in enumerate(lines, start=1):
        line = parsed_line(path, number, text)
        if line["update"] > update:
            if whole:
                [parsed_line(path, k, t) for k, t in enumerate(lines[number:], start=number + 1)]
            break
        last += line["kind"] == "update"
        if line["update"] != last:
            raise CheckpointError(f"{path}, line {number}: the line of update {last} is missing.")
        if line["kind"] == "evaluation":
            evaluated = last
        length += len(text) + 1
    if last < update:
        raise CheckpointError(f"{path}: the lines of updates {last + 1} to {update} are missing.")
    kept = hashlib.sha256(content[:length])
    return LeadingLines(length, kept, evaluated, content[length:])


def _refuse(path: Path, number: int, error: Exception) -> NoReturn:
    why = ""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"][1:])
        why = f" ({place + ': ' if place else ''}{first['msg']})"
    raise CheckpointError(
        f"{path}, line {number}: not a metrics line{why}. Remove it to read the rest."
    ) from None
