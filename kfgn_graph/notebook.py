"""HTML tables, by which a notebook shows an object."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def html_table(
    title: str, head: Sequence[str], rows: Iterable[Sequence[object]], notes: Iterable[str] = ()
) -> str:
    """Return a table in HTML.

    Parameters
    ----------
    title : str
        The caption.
    head : sequence of str
        The headings of the columns; none are shown if it is empty.
    rows : iterable of sequences
        The cells, as text or as objects that convert to it. All are escaped.
    notes : iterable of str
        Lines below the table.
    """
    headings = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows
    )
    return (
        f'<table><caption style="text-align:left">{escape(title)}</caption>'
        + (f"<thead><tr>{headings}</tr></thead>" if headings else "")
        + f"<tbody>{body}</tbody></table>"
        + "".join(f"<div>{escape(line)}</div>" for line in notes if line)
    )
