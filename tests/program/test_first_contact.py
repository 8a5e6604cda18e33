"""What a user meets first: compilation, its cache, missing packages."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from kfgn_graph.program.building import build, compile_step
from kfgn_graph.program.cli.progress import Bar, Lines
from kfgn_graph.program.compiled_cache import FOLDER_VARIABLE, keep_compiled_programs
from kfgn_graph.program.training import start
from tests.program.small import ADAM, KFRA, Watch, small_spec, write_data

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("method", [pytest.param(ADAM, marks=pytest.mark.slow), KFRA])
def test_seconds_do_not_count_compilation(tmp_path, method):
    write_data(tmp_path)
    watch = Watch()
    spec = small_spec(method=method, budget="seconds = 0.5", backend="numba")
    outcome = start(spec, tmp_path, tmp_path / "runs", watch)
    before, seconds = watch.compiled
    assert before is None
    assert seconds > 0
    assert outcome.update > 1
    assert outcome.seconds < 0.5 + 10 * outcome.seconds / outcome.update


@pytest.mark.parametrize("backend", ["jax", "numba"])
def test_compilation_changes_nothing(tmp_path, backend):
    write_data(tmp_path)
    task = build(small_spec(method=KFRA, backend=backend), tmp_path)
    step, batch = compile_step(task), [a[:10] for a in task.arrays]
    before = step.state()
    step.compile(*batch)
    after = step.state()
    assert before.keys() == after.keys()
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value, err_msg=name)
    assert step.statistics() == {}
    assert step.skipped == 0


@pytest.mark.parametrize(
    ("limit", "most", "shares"),
    [(10, None, [0.5, 1]), (None, 4.0, [0.25, 0.5]), (10, 2, [0.5, 1])],
)
def test_the_bar_moves_with_updates_and_seconds(limit, most, shares):
    out = Console(file=io.StringIO(), force_terminal=True, width=100, highlight=False)
    with Bar(out) as bar:
        bar.started(Path("run"), 0, limit, most)
        bar.compiling(None)
        bar.compiling(8.61)
        shown = []
        for update, seconds in ((5, 1.0), (10, 2.0)):
            bar.updated(update, seconds, 0.5, None)
            shown.append(bar._bar.tasks[0].completed)
    assert shown == shares
    assert "compiled 8.6 s" in out.file.getvalue()


def test_lines_say_that_the_step_compiles():
    out = Console(file=io.StringIO())
    Lines(out).compiling(None)
    Lines(out).compiling(8.61)
    assert out.file.getvalue() == "compiling\ncompiled 8.6 s\n"


def test_compiled_programs_are_kept_where_the_user_says(tmp_path, monkeypatch):
    monkeypatch.setenv("KFGN_CACHE", str(tmp_path))
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    keep_compiled_programs()
    assert os.environ[FOLDER_VARIABLE] == str(tmp_path / "jax")
    os.environ[FOLDER_VARIABLE] = "mine"
    keep_compiled_programs()
    assert os.environ[FOLDER_VARIABLE] == "mine"


def test_without_a_cache_folder_nothing_is_kept(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(os, "environ", dict(os.environ) | {"KFGN_CACHE": str(tmp_path / "file")})
    os.environ.pop(FOLDER_VARIABLE, None)
    keep_compiled_programs()
    assert FOLDER_VARIABLE not in os.environ


@pytest.mark.parametrize("missing", ["typer", "rich", "pydantic"])
def test_without_the_program_s_packages_the_extra_is_named(missing):
    code = (
        f"import sys; sys.modules[{missing!r}] = None\nfrom kfgn_graph.program.entry import main"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nmain()"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 5
    assert done.stderr.startswith(f"error: kfgn needs the package {missing}")
    assert 'pip install "kfgn_graph[cli]"' in done.stderr
    assert "Traceback" not in done.stderr
