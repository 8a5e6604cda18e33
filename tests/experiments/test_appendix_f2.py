"""The alignment study at a tiny size: exact solves, Kronecker directions, files, tables."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytensor.tensor as pt
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

import kfgn_graph as kfgn
from experiments.appendix_f2 import __main__ as program
from experiments.appendix_f2 import study
from experiments.appendix_f2.cases import Case
from experiments.appendix_f2.directions import (
    KroneckerInverse,
    conjugate_gradients,
    cosine,
    spectrum,
)
from experiments.appendix_f2.measure import Estimates
from experiments.appendix_f2.points import read_points
from experiments.appendix_f2.summary import PARTS, angle, part_angles, read_rows
from experiments.appendix_f2.systems import Systems
from experiments.small_networks import compile_in_python

TINY = Case(
    name="tiny",
    sizes=(6, 4, 3),
    loss="softmax",
    points={"Adam": (0, 2)},
    batches={20: 1, 8: 1},
    dampings=(1.0, 100.0),
    samples=(1, 10),
    draws=2,
    activations=("tanh",),
    chunk=10,
    column_chunk=7,
    tolerance=1e-12,
)
rng = np.random.default_rng(0)
X, LABELS = rng.normal(size=(20, 6)), rng.integers(0, 3, size=20)


def systems_of(case: Case, activation: str = "tanh") -> Systems:
    return Systems(case, activation, in_python=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("examples", [1, 20])
def test_where_the_factorisation_is_exact_the_cosine_is_one(examples: int) -> None:
    if examples == 1:  # one example: every block is Q (x) G, for KFLR and for KFRA
        systems, batch = systems_of(TINY), [X[:1], LABELS[:1]]
    else:  # a linear network with squared loss: G is the same for every example
        linear = replace(TINY, sizes=(6, 4, 6), loss="squared", samples=())
        systems, batch = systems_of(linear, "linear"), [X]
    found = Estimates(systems, tuple(batch), 0)
    damping = 0.1 * found.mean_eigenvalue
    exact = found.solve(damping, 1e-12)
    for name in ("KFLR", "KFRA"):
        direction = found.inverses[name][0].exact(found.b, damping)
        assert cosine(direction, exact.block.x) == pytest.approx(1, abs=1e-9)
        assert np.linalg.norm(direction - exact.block.x) < 1e-9 * np.linalg.norm(direction)
    assert cosine(exact.full.x, exact.block.x) < 1 - 1e-6


def test_products_are_means_over_chunks_and_blocks_are_those_of_the_whole() -> None:
    systems = systems_of(TINY)
    first = int(np.prod(systems.shapes[0]))
    v = rng.normal(size=first + int(np.prod(systems.shapes[1])))
    batch = (X, LABELS)
    full, blocks = (systems.product(batch, only) for only in (False, True))
    head, tail = v * (np.arange(len(v)) < first), v * (np.arange(len(v)) >= first)
    apart = np.concatenate([full(head)[:first], full(tail)[first:]])
    np.testing.assert_allclose(blocks(v), apart, rtol=1e-12)
    parts = [systems.product((X[i : i + 5], LABELS[i : i + 5]), False)(v) for i in (0, 5, 10, 15)]
    np.testing.assert_allclose(full(v), np.mean(parts, axis=0), rtol=1e-12)
    found = systems.factors("KFLR", batch)
    systems.case = replace(TINY, column_chunk=20)
    for a, b in zip(found.G, systems.factors("KFLR", batch).G, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_the_mean_over_many_samples_tends_to_kflr() -> None:
    systems = systems_of(replace(TINY, samples=(4000,)))
    batch = (X, LABELS)
    exact, sampled = systems.factors("KFLR", batch), systems.factors("KFAC 4000", batch)
    for a, b in zip(exact.G, sampled.G, strict=True):
        assert np.linalg.norm(a - b) < 0.05 * np.linalg.norm(a)
    other = systems.factors("KFAC 4000", batch, seed=1)
    assert np.linalg.norm(other.G[0] - sampled.G[0]) > 0


def test_conjugate_gradients_agree_with_a_dense_solve_or_raise() -> None:
    A = rng.normal(size=(30, 12))
    A, b = A @ A.T / 12, rng.normal(size=30)
    found = conjugate_gradients(lambda v: A @ v, b, 0.01, lambda v: v, 1e-10)
    dense = np.linalg.solve(A + 0.01 * np.eye(30), b)
    assert np.linalg.norm(found.x - dense) <= found.error * np.linalg.norm(found.x)
    assert found.error <= 1e-10
    with pytest.raises(RuntimeError, match="2 iterations of conjugate gradients"):
        conjugate_gradients(lambda v: A @ v, b, 0.01, lambda v: v, 1e-10, iterations=2)


def test_kronecker_directions_are_those_of_the_package() -> None:
    Q, G = (a @ a.T for a in (rng.normal(size=(4, 4)), rng.normal(size=(3, 2))))
    V, damping = rng.normal(size=(4, 3)), 0.3
    inverse = KroneckerInverse([spectrum(Q)], [spectrum(G)])
    dense = np.linalg.solve(np.kron(Q, G) + damping * np.eye(12), V.ravel())
    np.testing.assert_allclose(inverse.exact(V.ravel(), damping), dense, rtol=1e-9)
    q, g, v = pt.dmatrices("Q", "G", "V")
    solved = kfgn.kronecker_solve(kfgn.KroneckerFactors(q, g), v, np.sqrt(damping))
    packaged = compile_in_python([q, g, v], solved)(Q, G, V)
    np.testing.assert_allclose(inverse.factored(V.ravel(), damping), packaged.ravel(), rtol=1e-9)


@pytest.fixture
def tiny_study(monkeypatch: pytest.MonkeyPatch) -> Case:
    made: list[Systems] = []  # one for both sessions of the study

    def compiled_once(case: Case, activation: str) -> Systems:
        if not made:
            made.append(systems_of(case, activation))
        return made[0]

    monkeypatch.setattr(study, "Systems", compiled_once)
    tiny = replace(TINY, data="digits", pooled=True, sizes=(16, 4, 10))
    return replace(tiny, examples=30, train_batch=20)


@pytest.mark.filterwarnings("ignore:Skipping Assert:UserWarning")
def test_a_study_is_resumed_and_its_measures_are_consistent(
    tiny_study: Case, tmp_path: Path
) -> None:
    study.run_missing([tiny_study], tmp_path, Console(quiet=True))
    (_, start), (task, end) = study.results([tiny_study], tmp_path)
    points = read_points(task.path(tmp_path).with_name("tanh-Adam.npz"))
    assert [point.updates for point in points] == [0, 2]
    assert start["unit"] != end["unit"]
    for record in end["records"]:
        assert -1 <= record["full"] <= 1 + 1e-12
        assert record["decrease"] <= 1 + 1e-9
        if record["direction"] == "block":
            assert record["block"] == pytest.approx(1)
        if record["batch"] == 20 and record["direction"].startswith("KF"):
            assert record["whole_full"] == pytest.approx(record["full"])
    kept = task.path(tmp_path)
    before = kept.stat().st_mtime_ns
    start_path = next(study.results([tiny_study], tmp_path))[0].path(tmp_path)
    start_path.unlink()
    study.run_missing([tiny_study], tmp_path, Console(quiet=True))
    assert kept.stat().st_mtime_ns == before
    again = next(study.results([tiny_study], tmp_path))[1]
    assert again["records"] == start["records"]
    console = Console(quiet=True)
    written = program.write_results([tiny_study], tmp_path)
    rows = read_rows(written[0])
    for path in [*written, *program.draw(rows, tmp_path, console)]:
        assert path.stat().st_size > 300
    kfra = [row for row in rows if row.direction == "KFRA"]
    assert all(row.lead == 0 for row in kfra)
    angles = part_angles([row for row in rows if row.damped == "exact"])
    assert set(angles) == set(PARTS)
    assert [angle(1.0), angle(0.0)] == pytest.approx([0, 90])


def test_missing_data_are_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def absent(*_: object, **__: object) -> None:
        raise kfgn.DataNotFound("train-images of MNIST is in none of the folders")

    monkeypatch.setattr(kfgn, "load_data", absent)
    app = typer.Typer()
    app.command()(program.main)
    done = CliRunner().invoke(app, ["--cases", "classifier", "--output", str(tmp_path)])
    assert done.exit_code == 1
    assert "train-images of MNIST is in none" in done.output
