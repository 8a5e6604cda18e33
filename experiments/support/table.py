"""The table of results, and the counts above it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.support.checks import TOLERANCE

Row = Mapping[str, Any]
HEAD = "| network | | read | exact | trained | KFRA | error |\n|---|---|---|---|---|---|---|"
COMPARED = ("product", "KFLR", "block")


def read(row: Row) -> str:
    """Return whether a network is read, with the number of its layers."""
    if row["layers"] is not None:
        count = row["layers"]
        return f"{count} layer{'s' * (count != 1)}"
    return "refused" if all(f["refused"] for f in row["failures"].values()) else "**crash**"


def exact(row: Row) -> str:
    """Return whether the curvature of a network equals brute force."""
    if row["layers"] is None:
        return ""
    failed = [stage for stage in COMPARED if stage in row["failures"]]
    if failed:
        refused = all(row["failures"][stage]["refused"] for stage in failed)
        return f"{'refused' if refused else '**crash**'}: {', '.join(failed)}"
    worst = max(row["differences"], key=row["differences"].get)
    if row["differences"][worst] is None or row["differences"][worst] > TOLERANCE:
        return f"**no**: {worst} by {row['differences'][worst] or float('nan'):.1g}"
    if row["unlocated"]:
        return f"{row['unlocated']} not compared"
    return "yes" if row["curved"] else "yes, zero"


def trained(row: Row) -> str:
    """Return whether a network trains."""
    if "train" in row["failures"]:
        return "refused" if row["failures"]["train"]["refused"] else "**crash**"
    training = row["training"]
    if training is None:
        return ""
    by = "" if training["method"] == "default" else f" by {training['method']}"
    if not training["finite"]:
        return f"**not finite**{by}"
    if training["skipped"]:
        warned = "" if training["warned"] else " silently"
        return f"**skipped{warned}**{by}: {training['skipped']} of {training['updates']}"
    return f"{'yes' if training['after'] < training['before'] else '**no**'}{by}"


def kfra(row: Row) -> str:
    """Return whether KFRA takes a network."""
    if row["layers"] is None:
        return ""
    failure = row["failures"].get("KFRA")
    if failure is None:
        return "yes"
    return "refused" if failure["refused"] else "**crash**"


def error(row: Row) -> str:
    """Return the first error of a network."""
    for stage, failure in row["failures"].items():
        where = "" if stage == "read" else f"{stage}: "
        return f"{where}{failure['error']}: {failure['message']}".replace("|", "\\|")
    return ""


def counts(rows: Sequence[Row]) -> Counter[str]:
    """Return how many networks are read, exact and trained, and of how many."""
    return Counter(
        networks=len(rows),
        read=sum(row["layers"] is not None for row in rows),
        exact=sum(exact(row).startswith("yes") for row in rows),
        trained=sum(trained(row).startswith("yes") for row in rows),
        KFRA=sum(kfra(row) == "yes" for row in rows),
    )


def markdown(rows: Sequence[Row]) -> str:
    """Return the table, a part for each section, with the counts first."""
    sections = list(dict.fromkeys(row["section"] for row in rows))
    listed = [row for row in rows if row["section"] != "further"]
    parts = ["| section | networks | read | exact | trained | KFRA |", "|---|---|---|---|---|---|"]
    groups = [(s, [row for row in rows if row["section"] == s]) for s in sections]
    for title, group in [*groups, ("all but further", listed)]:
        count = counts(group)
        numbers = [count[k] for k in ("networks", "read", "exact", "trained", "KFRA")]
        parts.append(f"| {title} | {' | '.join(map(str, numbers))} |")
    for title, group in groups:
        parts += ["", f"## {title}", "", HEAD]
        for row in group:
            cells = [row["name"], row["description"]]
            cells += [part(row) for part in (read, exact, trained, kfra, error)]
            parts.append(f"| {' | '.join(cells)} |")
    return "\n".join(parts) + "\n"
