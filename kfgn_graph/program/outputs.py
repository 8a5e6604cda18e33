"""The files that a command writes where the user says: pages, drawings and documents.

Such a file may replace an earlier one of its kind, and nothing else: neither a file of a run nor
any other file of the user's.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from kfgn_graph.errors import CheckpointError
from kfgn_graph.program.checkpoints import CHECKPOINTS
from kfgn_graph.program.resuming import LOCK, SET_ASIDE
from kfgn_graph.program.runs import HEADER, METRICS, SNAPSHOTS
from kfgn_graph.program.scaling import SCALING
from kfgn_graph.program.storage import DRAFT, refuse_links, write_safely, written
from kfgn_graph.program.tensorboard import FOLDER as EVENTS

OF_RUNS = frozenset((HEADER, METRICS, SCALING, LOCK, CHECKPOINTS, SNAPSHOTS, SET_ASIDE, EVENTS))
"""Names of the files and folders that training writes in a run's folder."""


@dataclass(frozen=True)
class Output:
    """A kind of file that the program writes.

    Attributes
    ----------
    name : str
        Its name in messages.
    parts : tuple of str
        Parts of the text of each such file. The first is its beginning; the others follow it in
        this order, within the first line if the beginning has no line end.
    """

    name: str
    parts: tuple[str, ...]

    def check(self, path: Path) -> None:
        """Check that a file may be written; to be called before the content is computed.

        Raises
        ------
        CheckpointError
            The path is a symbolic link, belongs to a run, or exists and is neither empty nor a
            file of this kind.
        """
        with written(path):
            refuse_links([path])
            if not path.parent.is_dir():
                raise CheckpointError(
                    f"{path}: the folder {path.parent} does not exist: create it, or give another "
                    "name."
                )
            _refuse_runs(path)
            if path.exists() and not (path.is_file() and self._replaceable(path)):
                raise CheckpointError(
                    f"{path} exists and is not a {self.name} of kfgn, so it is not replaced: "
                    "delete it, or give another name."
                )

    def write(self, path: Path, content: bytes) -> None:
        """Write a file atomically, where :meth:`check` allows it.

        Raises
        ------
        CheckpointError
            The file may not or cannot be written; an older file remains unchanged.
        """
        self.check(path)
        draft = path.with_name(f".kfgn-{secrets.token_hex(8)}{DRAFT}")
        write_safely(path, content, draft)

    def _replaceable(self, path: Path) -> bool:
        with path.open("rb") as stream:
            head = stream.read(4096)
        start, *rest = (part.encode() for part in self.parts)
        if not head.startswith(start):
            return not head
        line = head.partition(b"\n")[0]
        position = len(start)
        for part in rest:
            position = line.find(part, position)
            if position < 0:
                return False
        return True


def _refuse_runs(path: Path) -> None:
    """Check that a path is not one of the files that training writes in a run's folder."""
    path = path.parent.resolve() / path.name
    for folder in path.parents:
        part = path.relative_to(folder).parts[0].removesuffix(DRAFT)
        if part in OF_RUNS and (folder / HEADER).exists():
            raise CheckpointError(
                f"{path} belongs to the run {folder}, whose files are never replaced: give "
                "another name."
            )
