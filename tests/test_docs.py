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
EQUATIONS = ROOT / "kfgn_graph" / "equations.py"
SLOW_FILES = {"choose_damping", "choose_an_inverse"}
HOW_TO_FILES = [
    pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if path.stem in SLOW_FILES else [])
    for path in sorted((DOCS / "how-to").glob("*.py"))
]


def python_blocks(page: Path) -> list[str]:
    """Return the bodies of the fenced ```python blocks of a page."""
    return re.findall(r"^```python\n(.*?)^```$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def test_the_readme_has_one_program_and_it_trains(capsys):
    (program,) = python_blocks(ROOT / "README.md")
    names = {}
    exec(compile(program, "README.md", "exec"), names)
    printed = float(capsys.readouterr().out)
    assert printed == pytest.approx(float(names["stats"].loss), rel=1e-6)
    assert printed < 0.2  # a guess between two classes has the loss ln 2 = 0.69


def test_the_landing_page_shows_what_its_example_prints(capsys):
    runpy.run_path(str(DOCS / "example.py"))
    printed = capsys.readouterr().out
    page = (DOCS / "index.md").read_text("utf-8")
    (shown,) = re.findall(r"^```text\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    number = r"\d\.\de[+-]\d\d"
    assert re.sub(number, "#", printed) == re.sub(number, "#", shown)
    values = [[float(v) for v in re.findall(number, text)] for text in (printed, shown)]
    assert values[0] == pytest.approx(values[1], rel=0.2)  # printed with two digits


def test_the_tutorial_trains(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["autoencoder.py", "21"])
    names = runpy.run_path(str(DOCS / "tutorial" / "autoencoder.py"), run_name="__main__")
    losses = [float(v) for v in re.findall(r"loss (\S+)", capsys.readouterr().out)]
    assert len(losses) == 2
    assert losses[-1] < 0.8 * losses[0]
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
