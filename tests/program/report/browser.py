"""A browser without a window, for what only a browser can tell of a page."""

import os
import shutil
import subprocess
from html import unescape
from pathlib import Path
from re import DOTALL, search

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000")
SCRIPT = '<script type="module">{}</script></body>'


def chromium() -> str:
    """Return the browser's program; skip the test where there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"no browser of {', '.join(NAMES)} is installed")
    return found


def visit(page: Path, *flags: str) -> tuple[str, str]:
    """Open a page; return what it became, and what the browser's console said."""
    done = subprocess.run(
        [
            chromium(),
            *FLAGS,
            f"--user-data-dir={page.parent / 'profile'}",
            "--enable-logging=stderr",
            *flags,
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env=os.environ | {"HOME": str(page.parent)},
    )
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, "\n".join(said)


def asked(page: Path, script: str) -> str:
    """Return what an expression is in a page, whose policy is taken off so that it may ask."""
    text = page.read_text("utf-8").replace("Content-Security-Policy", "x-taken-off")
    wrapped = f"document.body.dataset.answer = await (async () => {{{script}}})();"
    other = page.with_name("asked.html")
    other.write_text(text.replace("</body>", SCRIPT.format(wrapped)), "utf-8")
    found, said = visit(other, "--dump-dom")
    assert said == ""
    answer = search(r'data-answer="([^"]*)"', found, DOTALL)
    assert answer is not None
    return unescape(answer[1])
