from functools import cache
from pathlib import Path

import numpy as np
import pytest

from experiments.figure1.__main__ import draw
from experiments.figure1.maxima import examine, search
from experiments.figure1.page import read_page
from experiments.figure1.panels import Setup, batch_of, panels
from experiments.figure1.planes import PlaneFunction, Values
from experiments.figure1.surfaces import clip_line, surface
from experiments.small_networks import small_network

TINY = Setup(points=15)
AXIS = np.linspace(-1, 1, 9)
X, Y = np.meshgrid(AXIS, AXIS, indexing="ij")


def values(loss: np.ndarray, second: float, hidden: np.ndarray) -> Values:
    hessian = np.broadcast_to(second * np.eye(2), (*loss.shape, 2, 2))
    return Values(loss, hessian, hidden[..., None])


@cache
def relu() -> PlaneFunction:
    return PlaneFunction(small_network("relu", "squared", 2))


def test_a_smooth_maximum_is_seen_and_a_sharp_one_told_from_it() -> None:
    smooth = examine(values(-(X**2) - Y**2, -2.0, np.ones_like(X)))
    assert (smooth.maxima, smooth.smooth_maxima, smooth.negative_definite) == (1, 1, 1)
    assert smooth.points == smooth.smooth == smooth.indefinite == smooth.negative_trace == 49
    sharp = examine(values((np.abs(X) - 2) ** 2 - np.abs(Y), 1.0, X))
    assert (sharp.maxima, sharp.smooth_maxima, sharp.negative_definite) == (1, 0, 0)
    assert sharp.smooth == 6 * 7 - 2 * 7  # the columns at x = 0 and beside it are crossed
    assert examine(values(X**2 + Y**2, 2.0, np.ones_like(X))).maxima == 0


def test_the_panels_are_convex_in_a_layer_and_only_there() -> None:
    evaluate, batch = relu(), batch_of(TINY)
    a, b, c = (surface(panel, evaluate, batch, TINY) for panel in panels(TINY))
    found = [examine(each.values) for each in (a, b, c)]
    assert [each.smooth_maxima for each in found] == [0, 0, 0]
    assert [each.negative_trace for each in found] == [0, 0, 0]
    assert [each.indefinite > 0 for each in found] == [False, False, True]
    # Each example and hidden unit has a boundary in (a), W2 has none, and all of (c) are at x = 0.
    assert len(a.boundaries) == TINY.examples * TINY.hidden
    assert len(b.boundaries) == 0
    assert len(c.boundaries) == 1 and not c.boundaries[0][:, 0].any()
    assert all(np.abs(line[40, :2]).max() < 1e-12 for line in a.boundaries)  # through the origin


@pytest.mark.parametrize(("activation", "smooth"), [("relu", False), ("tanh", True)])
def test_only_a_smooth_activation_has_smooth_maxima(activation: str, smooth: bool) -> None:
    found = search(activation, one_layer=True, planes=20, setup=TINY)
    assert found.maxima > 0
    assert (found.smooth_maxima > 0) is smooth
    assert (found.negative_definite > 0) is smooth
    assert (found.indefinite > 0) is smooth


def test_lines_are_cut_at_the_edge_of_the_square() -> None:
    np.testing.assert_allclose(clip_line(0.0, 1.0, -1.0, 2.0), [[-2, -2], [2, 2]])
    np.testing.assert_allclose(clip_line(-1.0, 1.0, 0.0, 2.0), [[1, -2], [1, 2]])
    assert clip_line(5.0, 1.0, 0.0, 2.0) is None
    assert clip_line(1.0, 0.0, 0.0, 2.0) is None


def test_the_page_holds_the_grid_whose_curvature_is_that_of_the_block_hessian(
    tmp_path: Path,
) -> None:
    rows, (picture, page) = draw(TINY, tmp_path, compared=10)
    assert [row["smooth_maxima"] for row in rows] == [0, 0, 0]
    errors = [row["block_hessian_error"] for row in rows]
    assert max(errors) < 1e-12 and min(errors) > 0  # compared, and not with itself
    assert picture.stat().st_size > 10_000
    text = page.read_text("utf-8")
    assert not any(word in text for word in ("http", "src=", "import ", "fetch(", "/*DATA*/"))
    evaluate, batch = relu(), batch_of(TINY)
    shown = read_page(page)["panels"]
    for panel, found in zip(panels(TINY), shown, strict=True):  # type: ignore[call-overload]
        _, true = evaluate.grid(panel.plane, batch, TINY.points, TINY.reach)
        np.testing.assert_allclose(found["loss"], true.loss, rtol=1e-3)
