"""The order of a file's arrays, found from their names and the names of the loss's inputs."""

from __future__ import annotations

import re
from collections.abc import Sequence

from kfgn_graph.errors import SpecError

EXAMPLES = frozenset(("x", "input", "inputs", "example", "examples", "features", "images"))
TARGETS = frozenset(("y", "t", "target", "targets", "label", "labels", "classes", "outputs"))
NETWORK = ("inputs", "targets")
"""Names of the inputs of a network that the program builds."""
_NUMBERED = re.compile(r"arr_(\d+)")


def order_of(held: Sequence[str], inputs: Sequence[str | None], origin: str) -> list[str]:
    """Return the names of a file's arrays in the order of the loss's inputs.

    Names are compared exactly, then without case. Arrays that :func:`numpy.savez` numbered keep
    its order. Where names differ from those of the inputs, ``x``, ``y`` and their usual synonyms
    tell examples from targets.

    Parameters
    ----------
    held : sequence of str
        Names of the file's arrays.
    inputs : sequence of str or None
        Names of the inputs; None for an input without a name.
    origin : str
        The file, for messages.

    Raises
    ------
    SpecError
        The names do not determine the order.
    """
    if len(held) < 2 or len(held) < len(inputs):
        return list(held)  # one array has no order; too few are refused where they are used
    if all(_NUMBERED.fullmatch(name) for name in held):
        return sorted(held, key=lambda name: int(name.removeprefix("arr_")))
    found = _by_name(held, inputs) or _by_role(held, inputs)
    if found is None:
        wanted = ", ".join(str(name or "(without a name)") for name in inputs)
        raise SpecError(
            f"data.arrays: the arrays {', '.join(held)} of {origin} are not named as the inputs "
            f"of the loss, {wanted}, so their order is unknown. List them in the order of the "
            f'inputs, as in arrays = ["{held[0]}", "{held[1]}"].'
        )
    return found


def check_order(given: Sequence[str], inputs: Sequence[str | None], origin: str) -> None:
    """Check that listed arrays are not named as other inputs than those they are listed for.

    Raises
    ------
    SpecError
        An array has the name of another input, which gets another array.
    """
    by_name = dict(zip(inputs, given, strict=False))
    for name, wanted in zip(given, inputs, strict=False):
        if name != wanted and by_name.get(name, name) != name:
            raise SpecError(
                f"data.arrays: the array {name!r} of {origin} is listed for the input {wanted!r}, "
                f"though the loss has an input {name!r}. List the arrays in the order of the "
                f"inputs: {', '.join(map(str, inputs))}."
            )


def _by_name(held: Sequence[str], inputs: Sequence[str | None]) -> list[str] | None:
    """Return the arrays with the names of the inputs, or None if one is missing or ambiguous."""
    wanted = [name for name in inputs if name is not None]
    for fold in (str, str.casefold):
        known = {fold(name): name for name in held}
        found = [known[fold(name)] for name in wanted if fold(name) in known]
        if len(known) == len(held) and len(set(found)) == len(inputs):
            return found
    return None


def _by_role(held: Sequence[str], inputs: Sequence[str | None]) -> list[str] | None:
    """Return examples and targets as the inputs have them, or None if a role is not known."""
    if len(held) != 2 or len(inputs) != 2:
        return None
    arrays = {_role(name): name for name in held}
    # without any names, examples come first by the convention of (x, y)
    roles = ["examples", "targets"] if inputs == [None, None] else [_role(n) for n in inputs]
    if None in arrays or None in roles or len(arrays) < 2 or len(set(roles)) < 2:
        return None
    return [arrays[role] for role in roles]


def _role(name: str | None) -> str | None:
    folded = (name or "").casefold()
    return "examples" if folded in EXAMPLES else "targets" if folded in TARGETS else None
