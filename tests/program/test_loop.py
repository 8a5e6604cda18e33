"""kfgn.fit: which rows make up the batches, what ends the loop, and what it returns."""

import io

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from rich.console import Console

import kfgn_graph as kfgn
from kfgn_graph.program import loop_bar


class Recorded:
    """An update that records its batches, with the interface that the loop uses."""

    def __init__(self, arrays: int = 1) -> None:
        self.batches: list[np.ndarray] = []
        self.by_row = (True,) * arrays

    def __call__(self, rows: np.ndarray, *others: object) -> kfgn.UpdateStats:
        self.batches.append(np.asarray(rows))
        values = [1.0 / len(self.batches)] * 8 + [False] * 4
        return kfgn.UpdateStats(*map(np.asarray, values))

    def evaluate(self, rows: np.ndarray) -> float:
        return float(len(self.batches))


def sizes(update: Recorded) -> list[int]:
    return [len(batch) for batch in update.batches]


def fitted(count: int = 10, batch: int = 4, **options: object) -> tuple[Recorded, kfgn.History]:
    update = Recorded()
    return update, kfgn.fit(update, [np.arange(count)], batch, progress=False, **options)


def test_leftover_examples_are_carried_into_the_next_epoch() -> None:
    update, history = fitted(epochs=2)
    assert sizes(update) == [4] * 5
    rows = np.concatenate(update.batches)
    assert sorted(rows[:10]) == sorted(rows[10:]) == list(range(10))
    assert rows.tolist() != sorted(rows.tolist())
    np.testing.assert_allclose(history["epoch"], [0.4, 0.8, 1.2, 1.6, 2.0])
    assert history.stopped == "epochs"


def test_unshuffled_batches_follow_the_data() -> None:
    update, _ = fitted(epochs=2, shuffle=False)
    assert np.concatenate(update.batches).tolist() == [*range(10), *range(10)]


@pytest.mark.parametrize(
    ("count", "last", "expected"),
    [(10, "keep", [4, 4, 2]), (9, "keep", [4, 5]), (8, "keep", [4, 4]), (10, "drop", [4, 4])],
)
def test_leftover_examples_are_kept_or_dropped(count: int, last: str, expected: list[int]) -> None:
    update, history = fitted(count, epochs=2, last=last)
    assert sizes(update) == expected * 2
    assert history["epoch"][-1] == pytest.approx(2)
    epoch = np.concatenate(update.batches[: len(expected)])
    assert len(set(epoch)) == len(epoch)


def test_the_seed_determines_the_order() -> None:
    same, again, other = (
        np.concatenate(fitted(epochs=1, seed=seed, last="drop")[0].batches) for seed in (1, 1, 2)
    )
    assert same.tolist() == again.tolist() != other.tolist()


def test_the_first_limit_ends_the_loop() -> None:
    assert len(fitted(updates=3, epochs=9)[0].batches) == 3
    update, history = fitted(updates=10**6, seconds=1e-9)
    assert len(update.batches) == 1
    assert history.stopped == "seconds"
    assert fitted(updates=2)[1].stopped == "updates"


def test_a_callback_ends_the_loop_and_sees_every_update() -> None:
    seen = []

    def callback(now: kfgn.LoopState) -> bool:
        seen.append((now.update, now.stats.loss, dict(now.validation)))
        return now.update == 3

    _, history = fitted(
        epochs=9, callbacks=[callback], validation=[np.arange(3)], validate_every=2
    )
    assert seen == [(1, 1.0, {}), (2, 0.5, {"loss": 2.0}), (3, 1 / 3, {})]
    assert history.stopped == "callback"
    np.testing.assert_array_equal(history["validation_update"], [2, 3])
    np.testing.assert_array_equal(history["validation_loss"], [2.0, 3.0])
    np.testing.assert_allclose(history["loss"], [1, 1 / 2, 1 / 3])


def test_a_validation_of_ones_own_returns_numbers_by_name() -> None:
    values = iter([{"loss": 2, "accuracy": 0.5}, {"loss": 1}])
    _, history = fitted(epochs=1.6, validation=lambda: next(values), validate_every=2)
    np.testing.assert_array_equal(history["validation_accuracy"], [0.5, np.nan])
    _, history = fitted(updates=1, validation=lambda: 3)
    np.testing.assert_array_equal(history["validation_loss"], [3.0])
    axes = history.plot("seconds").axes[0]
    assert [len(line.get_xdata()) for line in axes.lines] == [1, 1]
    assert axes.get_yscale() == "log"
    with pytest.raises(kfgn.SpecError, match="against='hours'"):
        history.plot("hours")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs a limit"),
        ({"epochs": 0}, "epochs=0"),
        ({"updates": 1.5}, r"updates=1\.5"),
        ({"seconds": float("nan")}, "seconds=nan"),
        ({"updates": 1, "validate_every": 0}, "validate_every=0"),
        ({"updates": 1, "batch": 1}, "batch_size=1 must be a whole number from 2 to the 10"),
        ({"updates": 1, "batch": 11}, "batch_size=11"),
        ({"updates": 1, "last": "merge"}, "last='merge'"),
    ],
)
def test_settings_that_are_not_allowed(options: dict[str, object], message: str) -> None:
    with pytest.raises(kfgn.SpecError, match=message):
        fitted(**options)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.ones((4, 2)), "data is one array"),
        ([np.ones(4), np.ones(5)], r"have \[4, 5\] examples"),
        ([1.0], "no array with examples"),
        ([np.ones(4)] * 3, "have 3 arrays, but the update takes"),
    ],
)
def test_data_that_do_not_fit(data: object, message: str) -> None:
    with pytest.raises(kfgn.BatchError, match=message):
        kfgn.fit(Recorded(1 if len(data) == 1 else 2), data, 2, updates=1)


def test_a_bar_shows_the_loss_and_the_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    shown = Console(file=out, force_terminal=True, width=120)
    monkeypatch.setattr(loop_bar, "console", lambda: shown)
    assert loop_bar.bar_fits()
    update = Recorded()
    kfgn.fit(update, [np.arange(10)], 4, updates=4, validation=lambda: 7.5)
    assert "4/4" in out.getvalue()
    assert "loss 0.25  validation loss 7.5" in out.getvalue()


def test_no_bar_where_nothing_can_be_redrawn(capfd: pytest.CaptureFixture[str]) -> None:
    kfgn.fit(Recorded(), [np.arange(10)], 4, updates=4)
    assert capfd.readouterr() == ("", "")


def small_update(draws: bool = False) -> kfgn.Update:
    x = pt.matrix("x")
    W = pytensor.shared(np.ones((3, 2)), name="W")
    noise = 0.0
    if draws:
        generator = pytensor.shared(np.random.default_rng(0))
        _, noise = pt.random.normal(size=x.shape, rng=generator, return_next_rng=True)
    loss = (((x + noise) @ W - 1.0) ** 2).sum(axis=1).mean()
    return kfgn.compile_update(loss, [W], [x], backend="jax")


def test_an_update_is_fitted_and_evaluated() -> None:
    data = np.random.default_rng(0).normal(size=(12, 3))
    update = small_update()
    (W,) = update.graph.parameters
    expected = np.mean(np.sum((data @ W.get_value() - 1) ** 2, axis=1))
    assert update.evaluate(data) == pytest.approx(expected, rel=1e-9)
    history = kfgn.fit(update, [data], 6, epochs=2, validation=[data], progress=False)
    assert history["validation_loss"][-1] == pytest.approx(update.evaluate(data), rel=1e-9)
    assert history["validation_loss"][-1] < expected
    assert history["validation_loss"].shape == (2,)
    with pytest.raises(kfgn.BatchError, match="shape"):
        update.evaluate(np.ones((4, 5)))


def test_a_loss_with_draws_has_no_single_value() -> None:
    with pytest.raises(kfgn.SpecError, match="draws random numbers"):
        small_update(draws=True).evaluate(np.ones((4, 3)))
