"""The sections of the page that need no script: tables, images, specs and environments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import quote

import numpy as np

from kfgn_graph.program.comparison import columns, comparable, differences, setting_text
from kfgn_graph.program.report.gathering import Arrays, Gathered
from kfgn_graph.program.report.pictures import picture, side_of
from kfgn_graph.program.spec import to_toml

COLOURS = 8
STRENGTHS = 5
NOT_COMPARABLE = (
    '<p class="note">The runs have different data or kinds of loss, so their losses cannot be '
    "compared.</p>"
)


def overview(runs: Sequence[Gathered]) -> str:
    """Return the table of all runs, and the table of the settings that differ."""
    records = [run.record for run in runs]
    alike = comparable(records)
    cells = columns([run.summary for run in runs], alike)
    rows = [
        [_name(run, index), *(_best(c.cells[index], c.best[index]) for c in cells)]
        for index, run in enumerate(runs)
    ]
    parts = ["<section>", _table(["run", *(_titled(c.title) for c in cells)], rows)]
    if not alike:
        parts.append(NOT_COMPARABLE)
    if differing := differences(records):
        head = ["setting", *(escape(run.summary.run) for run in runs)]
        settings = [
            [escape(key), *(escape(setting_text(v)) for v in values)]
            for key, values in differing.items()
        ]
        parts += ["<h2>Settings that differ</h2>", _table(head, settings, "words")]
    return "\n".join([*parts, "</section>"])


def run_section(run: Gathered, index: int) -> str:
    """Return the section about one run."""
    parts = [
        f'<article class="run"><h3>{_name(run, index)}</h3>',
        _facts(run),
        _shown(run),
        _reproduced(run),
        _environment(run.record.header),
        "</article>",
    ]
    return "\n".join(part for part in parts if part)


def _titled(title: str) -> str:
    return {"s": "seconds", "s/update": "seconds per update", "at": "at update"}.get(title, title)


def _name(run: Gathered, index: int) -> str:
    chip = f'<span class="chip run{index % COLOURS}"></span>'
    return f"{chip}{escape(run.summary.run)}"


def _best(text: str, best: bool) -> str:
    return f'<span class="best">{escape(text)}</span>' if best else escape(text)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "figures") -> str:
    """Return a table from cells in HTML. The first column contains the row headers."""
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "".join(_row(row) for row in rows)
    head_part = f"<thead><tr>{top}</tr></thead>" if head else ""
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="table">'
        f'<table class="{kind}">{head_part}<tbody>{body}</tbody></table></div>'
    )


def _row(cells: Sequence[str]) -> str:
    rest = "".join(f"<td>{cell}</td>" for cell in cells[1:])
    return f'<tr><th scope="row">{cells[0]}</th>{rest}</tr>'


def _facts(run: Gathered) -> str:
    header, spec = run.record.header, run.record.spec
    layers = [f"{part['name']} {part['inputs']}→{part['outputs']}" for part in header["layers"]]
    told = [f"{header['parameters']:,} parameters"]
    if layers:
        told.append(f"{len(layers)} layers: {', '.join(layers)}")
    told.append(f"{spec.method.name}, batches of {spec.batch:,}")
    if header["floor"]:
        told.append(f"the lowest possible loss is {header['floor']:.6g}")
    told += [f"{count:,} updates {name}" for name, count in run.counts.items() if count]
    return f"<p>{escape('; '.join(told))}.</p>"


def _shown(run: Gathered) -> str:
    """Return the images of the last snapshot, or its confusion matrix."""
    if run.last is None:
        return ""
    update, arrays = run.last
    if "confusion" in arrays:
        return f"<h4>Confusion matrix after update {update:,}</h4>" + _confusion(
            arrays["confusion"]
        )
    return _reconstructions(update, arrays)


def _reconstructions(update: int, arrays: Arrays) -> str:
    examples, predictions = arrays.get("examples"), arrays.get("predictions")
    if examples is None or predictions is None or examples.shape != predictions.shape:
        return ""
    side = side_of(examples.shape[1])
    if side is None:
        return ""
    low, high = float(examples.min()), float(examples.max())
    rows = [
        _pictures([picture(row.reshape(side, side), low, high) for row in part], what)
        for part, what in ((examples, "example"), (predictions, "reconstruction"))
    ]
    head = f"<h4>Examples and their reconstructions after update {update:,}</h4>"
    return "\n".join([head, *rows])


def _pictures(uris: Iterable[str], what: str) -> str:
    images = "".join(f'<img src="{uri}" alt="{what} {k}">' for k, uri in enumerate(uris, start=1))
    return f'<div class="pictures">{images}</div>'


def _confusion(counts: np.ndarray) -> str:
    """Return the confusion matrix, with true classes in rows and colours by the row's shares."""
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    head = ["true \\ predicted", *(str(k) for k in range(len(counts)))]
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    rows = []
    for k, (row, share) in enumerate(zip(counts.tolist(), shares.tolist(), strict=True)):
        cells = "".join(
            f'<td class="{_strength(s)}">{n:,}</td>' for n, s in zip(row, share, strict=True)
        )
        rows.append(f'<tr><th scope="row">{k}</th>{cells}</tr>')
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="confusion matrix">'
        f'<table class="confusion"><thead><tr>{top}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _strength(share: float) -> str:
    return f"l{max(1, round(STRENGTHS * share))}" if share > 0 else "zero"


def _reproduced(run: Gathered) -> str:
    """Return the spec, and the command that repeats the run."""
    text = to_toml(run.record.spec)
    file = f"{run.record.spec.name}.toml"
    link = (
        f'<a download="{escape(file)}" href="data:application/toml,{quote(text)}">'
        f"{escape(file)}</a>"
    )
    where = escape(str(run.record.header["folder"]))
    reproduced = (
        f"<p>Save {link}, then</p><pre>kfgn train {escape(file)}</pre>"
        f'<p class="note">Relative paths and modules were resolved in {where}.</p>'
    )
    return _details("Spec and command to reproduce the run", reproduced + _pre(text))


def _pre(text: str) -> str:
    return f"<pre>{escape(text)}</pre>"


def _environment(header: Mapping[str, Any]) -> str:
    machine = header["machine"]
    told = {
        "started": header["created"],
        "processor": f"{machine.get('processor')}, {machine.get('cpus')} usable",
        "system": f"{machine.get('system')}, Python {machine.get('python')}",
        "thread settings": _pairs(machine.get("thread_settings", {})) or "none",
        "versions": _pairs(machine.get("versions", {})),
        "command": machine.get("command"),
        "data": header["data"],
        "SHA-256 of the data": header["data_sha256"],
    }
    rows = [[escape(key), escape(str(value))] for key, value in told.items()]
    return _details("Environment", _table([], rows, "words"))


def _pairs(values: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _details(summary: str, content: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"
