"""The study of differential equations: its equations, and a small run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from experiments.physics.__main__ import main
from experiments.physics.problems import EQUATIONS, points


@pytest.mark.parametrize("name", EQUATIONS)
def test_the_exact_solution_solves_the_equation(name: str) -> None:
    equation, h = EQUATIONS[name], 1e-4
    x, target, flags = points(equation, 5)
    inside = flags > 0
    steps = [h * np.eye(2)[k] for k in range(2)]
    u = equation.exact
    slopes = np.stack([(u(x + s) - u(x - s)) / (2 * h) for s in steps], axis=1)
    second = np.stack([(u(x + s) - 2 * u(x) + u(x - s)) / h**2 for s in steps], axis=1)
    left = equation.operator(slopes, second)
    np.testing.assert_allclose(left[inside], target[inside], atol=1e-5)
    np.testing.assert_allclose(u(x[~inside]), target[~inside], atol=1e-12)


@pytest.mark.slow
def test_a_small_run_writes_curves_and_a_picture(tmp_path: Path) -> None:
    import typer

    app = typer.Typer()
    app.command()(main)
    arguments = "poisson --width 8 --hidden 1 --side 6 --updates 40 --seconds 1 --output".split()
    result = CliRunner().invoke(app, [*arguments, str(tmp_path)])
    assert result.exit_code == 0, result.output
    curves = json.loads((tmp_path / "poisson.json").read_text("utf-8"))["curves"]
    assert [c["method"] for c in curves] == ["kernel", "adam", "l-bfgs"]
    assert curves[0]["errors"][-1] < 0.3
    assert (tmp_path / "poisson.png").stat().st_size > 0
