"""Everything that persists between the calls of an update: read, compared and restored."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
from pytensor.compile.sharedvalue import SharedVariable

from kfgn_graph.errors import CheckpointError
from kfgn_graph.layers.draws import is_generator
from kfgn_graph.layers.graph import LayerGraph
from kfgn_graph.layers.names import unique_names
from kfgn_graph.shared_values import cell_of, stored_value
from kfgn_graph.step.reduction_ratio import watch_state
from kfgn_graph.step.settings import Settings
from kfgn_graph.step.state import State, parameter_names
from kfgn_graph.tracing import Updates
from kfgn_graph.update.generators import packed, unpacked

#: The entries that count.
COUNTERS = ("count", "failed", "watch")
#: The entries that are finite after every update.
FINITE = ("damping", "gamma", "length", "factors/", "previous/")
#: The greatest number of differences that an error lists.
LISTED = 8


class SavedState(dict[str, np.ndarray]):
    """Arrays by name, with a record of the settings that give them their meaning.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        The arrays.
    settings : mapping of str to str, optional
        The record, from :func:`record_of`; None if it is not known.
    """

    def __init__(
        self, arrays: Mapping[str, np.ndarray], settings: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(arrays)
        self.settings = None if settings is None else dict(settings)


def record_of(settings: Settings) -> dict[str, str]:
    """Return the settings that give the arrays of a state their meaning.

    States of different methods, or of different kinds of kept inverses, may have arrays of the
    same names and shapes.
    """
    method, strategy = settings.method, settings.strategy
    chosen = [getattr(method, "sharing", "expand"), getattr(method, "tying", "nearest")]
    options = ", ".join(name for name in chosen if name not in ("expand", "nearest"))
    record = {"method": f"{type(method).__name__}({options})"}
    if method.factored and settings.keeps_inverses:
        kinds = [k for k in ("exact", "corrected") if getattr(strategy, k)]
        record["inverse"] = f"{type(strategy).__name__}({', '.join(kinds)})"
    return record


class Persistent:
    """The shared variables that persist between updates, by unique names.

    Parameters
    ----------
    graph : LayerGraph
        The layers; ``parameters/<name>`` are its parameters.
    settings : Settings
        The settings of the update.
    state : State
        The state of the update, which has names.
    own : mapping
        The shared variables of the loss that change by themselves, such as random generators:
        ``shared/<name>``.

    Attributes
    ----------
    variables : dict of str to shared variable
        One for each name.
    """

    def __init__(self, graph: LayerGraph, settings: Settings, state: State, own: Updates) -> None:
        names = [f"parameters/{name}" for name in parameter_names(graph)]
        names += [f"shared/{name}" for name in unique_names([v.name for v in own])]
        user = dict(zip(names, [*graph.parameters, *own], strict=True))
        self.variables: dict[str, SharedVariable] = user | state.variables
        self._shapes = {name: _internal(v).shape for name, v in self.variables.items()}
        self._record = record_of(settings)
        self._dtype, self._settings = graph.loss.type.dtype, settings
        self._layers = [layer for layer in graph.layers if layer.key != layer.name]

    def read(self) -> SavedState:
        """Return copies of all values."""
        arrays = {name: stored(v) for name, v in self.variables.items()}
        return SavedState(arrays, self._record)

    def restored(self, state: Mapping[str, np.ndarray]) -> list[tuple[list[Any], Any]]:
        """Return the storage of each variable, with the value that :meth:`read` returned.

        Raises
        ------
        CheckpointError
            If names, shapes, dtypes or settings do not fit.
        """
        if not isinstance(state, Mapping):
            raise CheckpointError(
                f"a state maps names to arrays; it is no {type(state).__name__}: pass what "
                "update.state() returned."
            )
        record = getattr(state, "settings", None)
        arrays = self._renamed(state)
        arrays |= self._defaults(arrays, record is not None)
        differences = [*self._unlike(record), *self._unfit(arrays)]
        if differences:
            listed = "; ".join(differences[:LISTED])
            more = len(differences) - LISTED
            raise CheckpointError(
                f"the state does not fit this update: {listed}"
                f"{f'; and {more} more' if more > 0 else ''}. It must be of the same network and "
                "settings."
            )
        return [
            (cell_of(v.container.storage), _value(name, v, arrays[name]))
            for name, v in self.variables.items()
        ]

    def _renamed(self, state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the arrays by today's names.

        States saved before layers had keys name the arrays of a layer by its plain name.
        """
        today: dict[str, str] = {}
        for layer in self._layers:
            for name in self.variables:
                kind, *part = name.split(f"/{layer.key}/", 1)
                today |= {f"{kind}/{layer.name}/{p}": name for p in part}
        try:
            return {
                name if name in self.variables else today.get(name, name): np.asarray(a)
                for name, a in state.items()
            }
        except ValueError as error:
            raise CheckpointError(f"the state holds what is no array: {error}.") from error

    def _defaults(self, given: Collection[str], recorded: bool) -> dict[str, np.ndarray]:
        """Return the values of entries that states of earlier versions do not have.

        ``failed`` is 0. In a state without a record of its settings, the watch of the reduction
        ratio begins anew, and the loss's random generators and changing variables keep their
        current values.
        """
        defaults = {"failed": np.asarray(np.int32(0))}
        if not recorded:
            defaults |= watch_state(self._settings, self._dtype)
        kept = [] if recorded else [n for n in self.variables if n.startswith("shared/")]
        absent = {n: defaults[n] for n in defaults if n in self.variables and n not in given}
        return absent | {n: stored(self.variables[n]) for n in kept if n not in given}

    def _unlike(self, record: Mapping[str, str] | None) -> Iterator[str]:
        """Return the settings in which a record differs."""
        if record is None:
            return
        for name in sorted({*record, *self._record}):
            there, here = record.get(name, "not kept"), self._record.get(name, "not kept")
            if there != here:
                yield f"its {name} is {there}, but that of the update is {here}"

    def _unfit(self, arrays: Mapping[str, np.ndarray]) -> Iterator[str]:
        """Return the names, shapes and dtypes in which arrays differ."""
        missing = sorted(set(self.variables) - set(arrays))
        unknown = sorted(set(arrays) - set(self.variables))
        if missing or unknown:
            yield f"missing {missing}, unknown {unknown}"
        for name, v in self.variables.items():
            if name not in arrays:
                continue
            there, here, shape = arrays[name], _internal(v), self._shapes[name]
            if name in COUNTERS and there.dtype.kind in "iu" and np.any(there < 0):
                yield f"{name} is {there}, but counts from 0"
            if (
                name.startswith(FINITE)
                and there.dtype.kind == "f"
                and not np.isfinite(there).all()
            ):
                yield f"{name} is not finite"
            if there.shape != shape or there.dtype != here.dtype:
                random = is_generator(v) or getattr(v.tag, "random_state", False)
                yield (
                    f"{name} is {there.dtype} {there.shape}, but {here.dtype} {shape} is "
                    "wanted"
                    + random
                    * " (random state of another bit generator, or of another backend)"
                )


def stored(v: SharedVariable) -> np.ndarray:
    """Return a copy of a variable's value; the state of a random generator as integers."""
    value = stored_value(v)
    return packed(value) if is_generator(v) else np.array(value)


def _internal(v: SharedVariable) -> Any:
    """Return a value to read dtype and shape from, which a deleted JAX array has as well."""
    value = stored_value(v)
    return packed(value) if is_generator(v) else value


def _value(name: str, v: SharedVariable, array: np.ndarray) -> Any:
    """Return what a variable is set to.

    Raises
    ------
    CheckpointError
        If the array is no state of the variable's generator.
    """
    if not is_generator(v):
        return np.array(array)
    try:
        return unpacked(v.get_value(borrow=True), array)
    except (ValueError, TypeError, OverflowError) as error:
        raise CheckpointError(f"{name} is no state of a random generator: {error}.") from error
