"""Sphinx extension: pages that need no network.

Mathematics is written into the pages as MathML, which browsers render themselves. A build fails
if a page would fetch a script, a style sheet, a font or a picture from another host.
"""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from docutils.nodes import SkipNode
from latex2mathml.converter import convert
from sphinx.errors import SphinxError

FETCHED = {
    "script": "src",
    "link": "href",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "embed": "src",
    "object": "data",
    "image": "href",
    "use": "href",
}
ELSEWHERE = re.compile(r"\s*(?:https?:)?//")
# Of a style sheet, or of a style element: url(...) and @import "...".
FETCHED_BY_STYLE = re.compile(r"""(?:url\(\s*|@import\s*)["']?((?:https?:)?//[^"')\s]*)""")
# LaTeX that is read amiss: a fence has the height of what it encloses, and carries an exponent.
READ = {r"\\[bB]igl\b": r"\\left", r"\\[bB]igr\b": r"\\right", r"\\(mathcal) (\w)": r"\\\1{\2}"}
# MathML that is drawn amiss: a macron is too short for a bar, slashes and names of functions stand
# too far apart, a single upright letter and a prime are slanted.
DRAWN = {
    "&#x000AF;": "&#x0203E;",
    "<mo>&#x0002F;": '<mo lspace="0" rspace="0">&#x0002F;',
    r"<mo>(?=[a-z]{2,}</mo>)": '<mo lspace="0.17em" rspace="0.17em">',
    r"<mi>(?=&#x000[4-7][0-9A-F];</mi>)": '<mi mathvariant="normal">',
    "<mi>&#x02032;</mi>": '<mo lspace="0" rspace="0">&#x02032;</mo>',
}


def mathml(latex: str, display: str) -> str:
    """Return a formula as MathML; ``display`` is "inline" or "block"."""
    if display == "block" and r"\\" in latex:
        latex = rf"\begin{{aligned}}{latex}\end{{aligned}}"
    for pattern, better in READ.items():
        latex = re.sub(pattern, better, latex)
    found = convert(latex, display=display)
    for pattern, better in DRAWN.items():
        found = re.sub(pattern, better, found)
    if "\\" in found:
        raise SphinxError(f"latex2mathml leaves a command of {latex!r} as it is: {found}")
    return found


def foreign_fetches(folder: Path) -> Iterator[str]:
    """Yield "file: address" for whatever the built pages fetch from other hosts."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in {".html", ".svg", ".css"}:
            text = path.read_text("utf-8")
            addresses = FETCHED_BY_STYLE.findall(text)
            if path.suffix != ".css":
                page = _Fetches()
                page.feed(text)
                addresses += page.addresses
            yield from (f"{path.relative_to(folder)}: {address}" for address in addresses)


class _Fetches(HTMLParser):
    """The addresses on other hosts that a page fetches."""

    def __init__(self):
        super().__init__()
        self.addresses = []

    def handle_starttag(self, tag, attrs):
        address = dict(attrs).get(FETCHED.get(tag)) or ""
        if ELSEWHERE.match(address):
            self.addresses.append(address)


def _inline(translator, node):
    translator.body.append(mathml(node.astext(), "inline"))
    raise SkipNode


def _block(translator, node):
    translator.body.append(f'<div class="math">{mathml(node.astext(), "block")}</div>\n')
    raise SkipNode


def _check(app, exception):
    if exception is None and app.builder.format == "html":
        found = list(foreign_fetches(Path(app.outdir)))
        if found:
            raise SphinxError("Pages fetch from other hosts:\n" + "\n".join(found))


def setup(app):
    """Add the renderer and the check."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    app.connect("build-finished", _check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
