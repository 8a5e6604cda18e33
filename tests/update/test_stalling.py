"""Fifty updates in a row that move nothing raise one warning, with the reason and the remedy."""

from __future__ import annotations

import warnings
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

import kfgn_graph as kfgn
from kfgn_graph.update.stalling import StallDetector
from tests.cases import build
from tests.harness import MODES
from tests.stepping import case_of, compile_case, on_backends

GOOD = {field.name: 1.0 for field in fields(kfgn.UpdateStats)}
GOOD |= {"skipped": False, "rejected": False, "clamped": False}
REJECTED = GOOD | {"rejected": True, "reduction_ratio": 0.125}
SKIPPED = GOOD | {"skipped": True}
NO_LOSS = SKIPPED | {"loss": np.nan}


def warned(rows: list[list[dict[str, Any]]]) -> list[list[str]]:
    """Return the warnings at each call of a detector that is given these statistics."""
    detector, texts = StallDetector(), []
    for row in rows:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            several = {k: np.array([s[k] for s in row]) for k in GOOD}
            values = several if len(row) > 1 else row[0]
            detector.add(kfgn.UpdateStats(**values), len(row))
        assert all(w.category is kfgn.StalledTrainingWarning for w in caught)
        texts.append([str(w.message) for w in caught])
    return texts


def calls(*parts: tuple[int, dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return single updates: a number of each kind in turn."""
    return [[stats] for count, stats in parts for _ in range(count)]


@pytest.mark.parametrize("before", [0, 1, 20, 49, 50, 99])
def test_it_warns_at_the_fiftieth_and_once(before: int) -> None:
    found = warned(calls((before, GOOD), (49, REJECTED), (1, SKIPPED), (200, SKIPPED)))
    assert [i for i, texts in enumerate(found) if texts] == [before + 49]


def test_forty_nine_and_one_that_is_taken_are_no_row() -> None:
    assert not any(warned(calls(*[(49, REJECTED), (1, GOOD)] * 6)))


def test_a_second_row_warns_again() -> None:
    found = warned(calls((50, REJECTED), (3, GOOD), (50, NO_LOSS)))
    assert [i for i, texts in enumerate(found) if texts] == [49, 102]


def test_updates_of_one_call_count_each() -> None:
    found = warned([[GOOD] * 3 + [REJECTED] * 30, [REJECTED] * 20 + [GOOD], [REJECTED] * 50])
    assert [len(texts) for texts in found] == [0, 1, 1]
    assert warned([[GOOD] + [REJECTED] * 60 + [GOOD]]) != [[]]


@pytest.mark.parametrize(
    ("statistics", "reason", "remedy"),
    [
        (NO_LOSS, "the loss is not finite", "NaN and infinite values in the batches"),
        (SKIPPED | {"gradient_norm": np.inf}, "the gradient is not finite", "float64"),
        (SKIPPED, "the step is not finite", "LevenbergMarquardt(initial=...)"),
        (GOOD | {"update_norm": 0.0}, "length 0", "initialise anew"),
        (REJECTED, "reduction ratio 0.125, lambda 1", "Rescaling(reject_below=None)"),
    ],
)
def test_it_names_the_reason_and_the_remedy(
    statistics: dict[str, Any], reason: str, remedy: str
) -> None:
    text = warned(calls((50, statistics)))[-1][0]
    assert reason in text
    assert remedy in text


def test_flags_are_read_once_in_fifty_updates_that_are_taken() -> None:
    read: list[int] = []

    class Flag:
        def __init__(self, number: int) -> None:
            self.number = number

        def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
            read.append(self.number)
            return np.asarray(False)

    detector = StallDetector()
    for i in range(1, 201):
        detector.add(kfgn.UpdateStats(**GOOD | {"skipped": Flag(i), "rejected": Flag(i)}))
    assert sorted(set(read)) == [50, 100, 150, 200]


@pytest.mark.thorough
@pytest.mark.parametrize("backend", on_backends(MODES))
def test_an_update_warns_at_the_call(backend: str, rng: np.random.Generator) -> None:
    case = case_of("tanh", "half_rows")
    update = compile_case(build(case, case.values(rng)), backend=backend)
    x, y = case.batch(rng, 4)
    bad = np.full_like(x, np.nan)
    for batch in [x] * 7 + [bad] * 49:
        update(batch, y)
    with pytest.warns(kfgn.StalledTrainingWarning, match="the loss is not finite") as caught:
        update(bad, y)
    assert caught[0].filename == __file__
    assert not update(x, y).skipped
    rows = np.zeros((50, 4), int)
    with pytest.warns(kfgn.StalledTrainingWarning):
        update.many([bad, y], rows)
