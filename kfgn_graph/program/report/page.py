"""The HTML page, assembled from its template, style, scripts and chart data."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from html import escape
from importlib import resources
from string import Template
from typing import Any

from kfgn_graph._version import __version__
from kfgn_graph.program.outputs import Output
from kfgn_graph.program.report.gathering import Gathered, gather
from kfgn_graph.program.report.sections import overview, run_section
from kfgn_graph.program.runs import RunRecord

SCRIPTS = ("charts.js", "page.js")
IN_SCRIPTS = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}
"""JSON escapes for the characters that can end a script element or a line in it."""
UNITS = {"bernoulli": "nats", "softmax": "nats"}


def render(records: Sequence[RunRecord], names: Sequence[str]) -> str:
    """Return a self-contained HTML page about runs.

    The security policy of the page allows only its own style and scripts, by their digests, so
    that the name of a run cannot inject a script.

    Parameters
    ----------
    records : sequence of RunRecord
        The runs, at least one.
    names : sequence of str
        A label for each run.

    Raises
    ------
    CheckpointError
        A file of a run cannot be read.
    """
    runs = [gather(record, name) for record, name in zip(records, names, strict=True)]
    style, script = _part("page.css"), "\n".join(map(_part, SCRIPTS))
    title = names[0] if len(names) == 1 else f"{len(names)} runs"
    return Template(_part("page.html")).substitute(
        title=escape(f"{title} – kfgn report"),
        subtitle=escape(_subtitle(runs)),
        policy=_policy(style, script),
        style=style,
        script=script,
        data=script_json({"runs": [_chart_data(run) for run in runs]}),
        overview=overview(runs),
        runs="\n".join(run_section(run, index) for index, run in enumerate(runs)),
        version=__version__,
    )


def _part(name: str) -> str:
    return (resources.files(__package__) / name).read_text("utf-8")


PAGE = Output("report", (_part("page.html").partition("$")[0],))
"""The kind of file that holds such a page; it begins as the template does."""


def script_json(document: Any) -> str:
    """Return JSON that is safe as the text of a script element."""
    return json.dumps(document, allow_nan=False, separators=(",", ":")).translate(IN_SCRIPTS)


def _policy(style: str, script: str) -> str:
    allowed = {"style-src": _source(style), "script-src": _source(script), "img-src": "data:"}
    rules = ["default-src 'none'", *(f"{key} {value}" for key, value in allowed.items())]
    return "; ".join([*rules, "base-uri 'none'", "form-action 'none'"])


def _source(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _subtitle(runs: Sequence[Gathered]) -> str:
    """Return the data sets, without their folders, and the dates of the runs, as a line."""
    sources = dict.fromkeys(
        re.sub(r"^([A-Za-z]:)?[/\\].*[/\\]", "", str(run.record.header["data"])) for run in runs
    )
    days = sorted({str(run.record.header["created"])[:10] for run in runs})
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return f"{'; '.join(sources)}. Begun {when}."


def _chart_data(run: Gathered) -> dict[str, Any]:
    return run.charts | {"unit": UNITS.get(run.record.spec.loss or "", "")}
