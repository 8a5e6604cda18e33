"""A training loop: :func:`fit`, and the history that it returns."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from time import perf_counter
from typing import Any, Literal, Protocol

import numpy as np

import kfgn_graph as kfgn
from kfgn_graph.errors import BatchError, SpecError
from kfgn_graph.program.order import DataOrder

Last = Literal["carry", "keep", "drop"]
Validation = Mapping[str, float]
#: The endings of a loop.
REASONS = ("epochs", "updates", "seconds", "callback")


@dataclass(frozen=True)
class LoopState:
    """The state of a loop after one update, as callbacks receive it.

    Attributes
    ----------
    update : int
        Number of updates of this loop so far.
    epoch : float
        Number of passes over the data so far.
    seconds : float
        Wall time since the loop began, compilation included.
    stats : UpdateStats
        The statistics of the update. On JAX, reading one waits for the update.
    validation : mapping of str to float
        The values of the validation that followed this update; empty if there was none.
    """

    update: int
    epoch: float
    seconds: float
    stats: kfgn.UpdateStats
    validation: Validation


class History(dict[str, np.ndarray]):
    """The course of training: arrays by name.

    ``update``, ``epoch``, ``seconds`` and every field of :class:`UpdateStats` have one entry for
    each update. ``validation_update`` and, for each value of the validation,
    ``validation_<name>`` have one entry for each validation.

    Attributes
    ----------
    stopped : {'epochs', 'updates', 'seconds', 'callback'}
        What ended the loop.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], stopped: str) -> None:
        super().__init__(arrays)
        self.stopped = stopped

    def plot(self, against: str = "update") -> Any:
        """Draw the loss of each batch, and the losses of the validation.

        Parameters
        ----------
        against : {'update', 'epoch', 'seconds'}
            The horizontal axis.

        Returns
        -------
        matplotlib.figure.Figure
            A figure that a notebook shows, and that ``savefig`` writes to a file.

        Raises
        ------
        SpecError
            If ``against`` is another name, or Matplotlib is not installed.
        """
        if against not in ("update", "epoch", "seconds"):
            raise SpecError(f"against={against!r} must be 'update', 'epoch' or 'seconds'.")
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise SpecError(
                f'a plot needs Matplotlib ({error}): pip install "kfgn_graph[cli]".'
            ) from error
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        axes.plot(self[against], self["loss"], linewidth=1, label="loss of the batch")
        if "validation_loss" in self:
            at = self[against][self["validation_update"].astype(int) - 1]
            axes.plot(at, self["validation_loss"], marker="o", label="validation")
        positive = all(np.nanmin(self[k]) > 0 for k in ("loss", "validation_loss") if k in self)
        axes.set(xlabel=against, ylabel="loss", yscale="log" if positive else "linear")
        axes.grid(alpha=0.3)
        axes.legend()
        return figure


def fit(
    update: kfgn.Update,
    data: Any,
    batch_size: int,
    *,
    epochs: float | None = None,
    updates: int | None = None,
    seconds: float | None = None,
    validation: Any = None,
    validate_every: int | None = None,
    callbacks: Iterable[Callable[[LoopState], Any]] = (),
    shuffle: bool = True,
    last: Last = "carry",
    seed: int = 0,
    progress: bool | None = None,
) -> History:
    """Train by batches of data until a number of epochs, updates or seconds is reached.

    Parameters
    ----------
    update : Update
        From :func:`compile_update`.
    data : sequence of arrays
        One for each input of the update, examples along the leading axis. An input that is no
        batch, such as a scalar or a table of class weights, is passed to every update unchanged.
    batch_size : int
        The number of examples of a batch, from 2 to all of them.
    epochs : float, optional
        The number of passes over the data.
    updates : int, optional
        The number of updates.
    seconds : float, optional
        Wall time, compilation included. The update during which it ends is completed. Of several
        limits the first one that is reached ends the loop; one is needed.
    validation : sequence of arrays or callable, optional
        Held-out data, one array for each input: their loss is computed by
        :meth:`Update.evaluate`, in one call. Or a callable without arguments that returns a
        number, which is the loss, or a mapping of names to numbers.
    validate_every : int, optional
        The number of updates between validations; by default an epoch's. The last update is
        followed by one in any case.
    callbacks : iterable of callables
        Each is called after every update, and its validation, with a :class:`LoopState`. If one
        returns True, the loop ends.
    shuffle : bool
        Whether every epoch has its own random order.
    last : {'carry', 'keep', 'drop'}
        The treatment of the examples that do not fill a batch at the end of an epoch: they begin a
        batch that the next epoch completes, so that all batches have one size; they are a
        shorter batch, or are added to the one before if it is a single example; or they are left
        out.
    seed : int
        The seed of the random order.
    progress : bool, optional
        Whether to show a progress bar, which needs Rich. By default, in a terminal and, where
        ipywidgets are installed, in a notebook.

    Returns
    -------
    History
        A dictionary of arrays, with a method ``plot``.

    Raises
    ------
    SpecError
        If a setting is not allowed, or a limit is missing.
    BatchError
        If the data do not fit the update.

    Notes
    -----
    If an update, the validation or a callback raises, the exception is passed on. The parameters
    are then those of the last update. So are they after Ctrl-C.
    """
    arrays = _arrays(data)
    by_row = update.by_row
    if len(arrays) != len(by_row):
        raise BatchError(
            f"the data have {len(arrays)} arrays, but the update takes {len(by_row)}: pass "
            "one for each input."
        )
    drawn = [a for a, rows in zip(arrays, by_row, strict=True) if rows]
    counts = {len(a) if np.ndim(a) else 0 for a in drawn}
    count = max(counts, default=0)
    if not count:
        raise BatchError("the data have no array with examples along its leading axis.")
    if len(counts) > 1:
        raise BatchError(
            f"the arrays of the data have {sorted(counts)} examples: pass one number of examples."
        )
    _check(count, batch_size, epochs, updates, seconds, validate_every, last)
    batches = _batches(count, batch_size, shuffle, last, seed)
    per_epoch = count // batch_size * batch_size if last == "drop" else count
    if validate_every is None:
        validate_every = max(1, round(per_epoch / batch_size))
    validate = _validation(update, validation)
    limit = _limit(epochs, updates, per_epoch, batch_size, last)
    callbacks = tuple(callbacks)
    recorded = _Recorder()
    start, done, seen, stopped = perf_counter(), 0, 0, ""
    with _bar(progress, limit, seconds) as bar:
        while not stopped:
            rows = next(batches)
            pairs = zip(arrays, by_row, strict=True)
            stats = update(*(a[rows] if with_rows else a for a, with_rows in pairs))
            done, seen = done + 1, seen + len(rows)
            recorded.finish()  # the update before, which is done while this one is computed
            elapsed = perf_counter() - start
            if done == limit:
                stopped = "updates" if done == updates else "epochs"
            elif seconds is not None and elapsed >= seconds:
                stopped = "seconds"
            values: Validation = {}
            if validate is not None and (stopped or done % validate_every == 0):
                values = validate()
            now = LoopState(done, seen / per_epoch, elapsed, stats, values)
            recorded.add(now)
            bar(now)
            # every callback is called, whatever the others return
            ended = [callback(now) is True for callback in callbacks]
            if any(ended) and not stopped:
                stopped = "callback"
        recorded.finish()
    if validate is not None and not values:  # a callback ended the loop
        recorded.add_validation(done, validate())
    return History(recorded.arrays(), stopped)


class _Recorder:
    """The numbers of all updates, fetched from the device one update late."""

    def __init__(self) -> None:
        self._rows: list[dict[str, Any]] = []
        self._validations: list[dict[str, float]] = []
        self._pending: LoopState | None = None

    def add(self, now: LoopState) -> None:
        """Record an update; its statistics are read by :meth:`finish`."""
        self._pending = now
        if now.validation:
            self.add_validation(now.update, now.validation)

    def add_validation(self, update: int, values: Validation) -> None:
        """Record the values of a validation."""
        self._validations.append({"update": update, **values})

    def finish(self) -> None:
        """Read the statistics of the last update that was added."""
        if self._pending is not None:
            now, self._pending = self._pending, None
            place = {"update": now.update, "epoch": now.epoch, "seconds": now.seconds}
            self._rows.append(place | now.stats.as_dict())

    def arrays(self) -> dict[str, np.ndarray]:
        """Return one array for each series."""
        found = {name: np.array([row[name] for row in self._rows]) for name in self._rows[0]}
        names = list(dict.fromkeys(name for row in self._validations for name in row))
        for name in names:
            values = [row.get(name, math.nan) for row in self._validations]
            found[f"validation_{name}"] = np.array(values)
        return found


def _arrays(data: Any) -> list[Any]:
    """Return the arrays of the data; lists are converted to arrays of NumPy."""
    if hasattr(data, "shape"):
        raise BatchError("data is one array: pass a sequence with an array for each input.")
    return [a if hasattr(a, "shape") else np.asarray(a) for a in data]


def _check(
    count: int,
    batch_size: int,
    epochs: float | None,
    updates: int | None,
    seconds: float | None,
    validate_every: int | None,
    last: str,
) -> None:
    """Raise :class:`SpecError` if a setting of the loop is not allowed."""
    if not _whole(batch_size) or not 2 <= batch_size <= count:
        raise SpecError(
            f"batch_size={batch_size!r} must be a whole number from 2 to the {count} examples of "
            "the data."
        )
    if epochs is None and updates is None and seconds is None:
        raise SpecError("the loop needs a limit: pass epochs=, updates= or seconds=.")
    for name, value in (("epochs", epochs), ("seconds", seconds)):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (number and 0 < value < math.inf):
            raise SpecError(f"{name}={value!r} must be a positive number.")
    for name, whole in (("updates", updates), ("validate_every", validate_every)):
        if whole is not None and not (_whole(whole) and whole >= 1):
            raise SpecError(f"{name}={whole!r} must be a whole number of at least 1.")
    if last not in ("carry", "keep", "drop"):
        raise SpecError(f"last={last!r} must be 'carry', 'keep' or 'drop'.")


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _limit(
    epochs: float | None, updates: int | None, per_epoch: int, batch_size: int, last: str
) -> int | None:
    """Return the number of updates that epochs and updates allow; None where seconds alone do."""
    limits = [] if updates is None else [updates]
    if epochs is not None:
        whole, part = divmod(epochs, 1)
        sizes = _sizes(per_epoch, batch_size) if last == "keep" else None
        if sizes is None:
            limits.append(math.floor(epochs * per_epoch / batch_size + 1e-9))
        else:
            limits.append(int(whole) * len(sizes) + math.floor(part * len(sizes) + 1e-9))
    return max(1, min(limits)) if limits else None


def _sizes(count: int, batch_size: int) -> list[int]:
    """Return the sizes of an epoch's batches whose last one may be shorter or longer by one."""
    whole, rest = divmod(count, batch_size)
    sizes = [batch_size] * whole
    if rest == 1:
        sizes[-1] += 1
    elif rest:
        sizes.append(rest)
    return sizes


def _batches(
    count: int, batch_size: int, shuffle: bool, last: str, seed: int
) -> Iterator[np.ndarray]:
    """Yield the rows of each batch, without an end."""
    if last == "carry" and shuffle:
        order = DataOrder([np.arange(count)], batch_size, seed)
        while True:
            yield order.next()[0]
    if last == "carry":
        begin = 0
        while True:
            yield np.arange(begin, begin + batch_size) % count
            begin = (begin + batch_size) % count
    sizes = _sizes(count, batch_size) if last == "keep" else [batch_size] * (count // batch_size)
    stops = np.cumsum(sizes)
    random = np.random.default_rng(seed)
    while True:
        rows = random.permutation(count) if shuffle else np.arange(count)
        for size, stop in zip(sizes, stops, strict=True):
            yield rows[stop - size : stop]


def _validation(update: kfgn.Update, validation: Any) -> Callable[[], Validation] | None:
    """Return a function that returns the values of a validation by name."""
    if validation is None:
        return None
    if callable(validation):

        def named() -> Validation:
            found = validation()
            values = found if isinstance(found, Mapping) else {"loss": found}
            return {str(name): float(value) for name, value in values.items()}

        return named
    held_out = _arrays(validation)
    return lambda: {"loss": update.evaluate(*held_out)}


class _Show(Protocol):
    def __call__(self, now: LoopState) -> None:
        """Show an update."""


def _bar(
    wanted: bool | None, limit: int | None, seconds: float | None
) -> AbstractContextManager[_Show]:
    """Return a context with a function that shows each update: on a bar, or not at all."""
    if wanted is False:
        return nullcontext(_nothing)
    if find_spec("rich") is None:
        if wanted:
            raise SpecError('progress=True needs Rich: pip install "kfgn_graph[cli]".')
        return nullcontext(_nothing)
    from kfgn_graph.program.loop_bar import LoopBar, bar_fits

    if wanted or bar_fits():
        return LoopBar(limit, seconds)
    return nullcontext(_nothing)


def _nothing(now: LoopState) -> None:
    """Show nothing."""
