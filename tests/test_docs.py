"""The code in the documentation runs, and the documentation names what there is."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import kfgn_graph as kfgn

pytestmark = pytest.mark.thorough

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text("utf-8")
EQUATIONS = ROOT / "kfgn_graph" / "equations.py"
SLOW_FILES = {"choose_damping", "choose_an_inverse", "compare_optimisers"}
#: Files that are run for their outputs below.
RUN_FOR_OUTPUTS = {
    *("explain_own_graph", "read_an_error"),
    *("train_a_convolutional_net", "train_a_transformer"),
}
HOW_TO_FILES = [
    pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if path.stem in SLOW_FILES else [])
    for path in sorted((DOCS / "how-to").glob("*.py"))
    if path.stem not in RUN_FOR_OUTPUTS
]


def python_blocks(page: Path) -> list[str]:
    """Return the bodies of the fenced ```python blocks of a page."""
    return re.findall(r"^```python\n(.*?)^```$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def test_the_readme_has_one_program_and_it_trains(capsys):
    (program,) = python_blocks(ROOT / "README.md")
    names = {}
    exec(compile(program, "README.md", "exec"), names)
    printed = float(capsys.readouterr().out)
    assert printed == pytest.approx(float(names["stats"].loss), abs=5e-5)
    (shown,) = re.findall(r"^```text\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    assert printed == pytest.approx(float(shown), rel=0.2)


def settled(output: str) -> str:
    """Return an output with its operations and sizes, and # for numbers that are measured."""
    lines = []
    for line in output.splitlines():
        if "Mflop " in line:  # of a part of an update: then follow its rate and its time
            line = line.partition("Mflop ")[0]
        elif "²" not in line:  # not a layer with its factors
            line = re.sub(r"\d[\d.,]*(?:e[+-]\d+)?", "#", line)
        lines.append(" ".join(line.split()))
    return "\n".join(lines)


def test_the_landing_page_shows_what_its_example_prints(tmp_path):
    outputs = runpy.run_path(str(DOCS / "outputs.py"))
    ((name, printed),) = outputs["SESSIONS"]["example"](tmp_path)
    kept = (DOCS / "outputs" / name).read_text("utf-8")
    assert settled(printed) == settled(kept)
    values = [[float(v) for v in re.findall(r"\S+e\S+", text)] for text in (printed, kept)]
    assert values[0] == pytest.approx(values[1], rel=0.2)  # printed with two digits


@pytest.mark.parametrize(
    "session",
    [
        "presets",
        "errors",
        "own-graph",
        pytest.param("convolution", marks=pytest.mark.slow),
        pytest.param("transformer", marks=pytest.mark.slow),
        pytest.param("digits", marks=pytest.mark.slow),
        pytest.param("explain", marks=[pytest.mark.slow, pytest.mark.needs_data]),
        pytest.param("bench", marks=[pytest.mark.slow, pytest.mark.needs_data]),
    ],
)
def test_the_outputs_on_the_pages_are_those_of_the_program(session, tmp_path):
    outputs = runpy.run_path(str(DOCS / "outputs.py"))
    for name, content in outputs["SESSIONS"][session](tmp_path):
        if name.endswith(".txt"):
            kept = (DOCS / "outputs" / name).read_text("utf-8")
            assert settled(outputs["plain"](content)) == settled(kept), "make outputs"


@pytest.mark.needs_data
@pytest.mark.usefixtures("data_folder")
def test_the_operations_on_the_pages_are_those_of_the_program(tmp_path):
    outputs = runpy.run_path(str(DOCS / "outputs.py"))
    printed = settled(outputs["piped"]("kfgn explain mnist-autoencoder", tmp_path))
    kept = settled((DOCS / "outputs" / "explain.txt").read_text("utf-8"))
    assert printed.count("²") == 16
    assert kept.startswith(printed)
    assert kept.removeprefix(printed).count("\n") == 1  # the line of --measure


def test_the_tutorial_trains(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["autoencoder.py", "21"])
    names = runpy.run_path(str(DOCS / "tutorial" / "autoencoder.py"), run_name="__main__")
    losses = [float(v) for v in re.findall(r"loss (\S+)", capsys.readouterr().out)]
    page = (DOCS / "tutorial" / "autoencoder.md").read_text("utf-8")
    told = re.search(r"from (\d+) nats to below (\d+) in\s+twenty updates", page)
    assert round(losses[0]) == int(told[1])
    assert losses[1] < int(told[2])
    assert {p.get_value().dtype for p in names["params"]} == {np.dtype("float32")}


@pytest.mark.parametrize("path", HOW_TO_FILES)
def test_the_code_of_a_how_to_guide_runs(path):
    # In a process of its own: what it registers must not reach other tests.
    flags = ",".join(filter(None, [os.environ.get("PYTENSOR_FLAGS"), "on_opt_error=raise"]))
    done = subprocess.run(
        [sys.executable, path],
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTENSOR_FLAGS": flags},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_pages_show_code_by_including_files_that_are_executed():
    pages = [page for page in DOCS.rglob("*.md") if "_build" not in page.parts]
    assert len(pages) > 10
    assert {page.name for page in pages if python_blocks(page)} == set()


def test_every_public_name_is_on_the_reference_page():
    page = (DOCS / "reference" / "public.md").read_text("utf-8")
    listed = set(re.findall(r"^   (\w+)$", page, re.MULTILINE))
    assert listed == {name for name in kfgn.__all__ if not name.startswith("__")}


def test_the_ledger_shows_every_function_of_the_equations():
    defined = set(re.findall(r"^def ([a-z]\w*)", EQUATIONS.read_text("utf-8"), re.MULTILINE))
    page = (DOCS / "explanation" / "equations.md").read_text("utf-8")
    assert set(re.findall(r"^:pyobject: (\w+)$", page, re.MULTILINE)) == defined


def test_a_page_has_its_mathematics_and_fetches_nothing(tmp_path):
    page = "explanation/adaptation"
    only = ["-D", f"include_patterns={page}.md", "-D", f"root_doc={page}"]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-b", "html", *only, DOCS, tmp_path],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr  # the build ends with the check of all that it wrote
    html = (tmp_path / f"{page}.html").read_text("utf-8")
    formulas = re.findall(r"<math .*?</math>", html, re.DOTALL)
    assert len(formulas) > 50
    assert [text for text in formulas if "\\" in text] == []
    (font,) = re.findall(r'url\("(STIX.*?)"\)', (tmp_path / "_static/custom.css").read_text())
    assert (tmp_path / "_static" / font).exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.html", '<script src="https://elsewhere.org/a.js"></script>'),
        ("a.html", '<link rel="stylesheet" href="//elsewhere.org/a.css">'),
        ("a.html", "<style>@import 'https://elsewhere.org/a.css'</style>"),
        ("a.css", "@font-face {src: url( https://elsewhere.org/a.woff2)}"),
        ("a.svg", '<svg><image href="https://elsewhere.org/a.png"/></svg>'),
    ],
)
def test_what_a_page_would_fetch_is_found(tmp_path, name, text):
    fetches = runpy.run_path(str(DOCS / "offline.py"))["foreign_fetches"]
    (tmp_path / name).write_text(f'<a href="https://elsewhere.org"></a>{text}')
    (found,) = fetches(tmp_path)
    assert found.startswith(f"{name}: ") and "elsewhere.org/a." in found


def test_every_link_between_pages_leads_somewhere():
    pages = [ROOT / "README.md", *(p for p in DOCS.rglob("*.md") if "_build" not in p.parts)]
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#]+)", page.read_text("utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert broken == []
