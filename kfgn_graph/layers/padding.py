"""Padding that repeats entries, as a gather along the padded axes alone.

PyTensor's graph of a padding reads and writes along all axes, also along those with no padding,
such as the batch.
"""

from __future__ import annotations

import numpy as np
from pytensor.graph.basic import Apply, Variable
from pytensor.tensor.pad import Pad

from kfgn_graph.layers.lengths import known_length, lengths_of

MODES = ("edge", "reflect", "symmetric", "wrap")


def gathered_padding(node: Apply) -> Variable | None:
    """Return a padding by constant indices; None if the length of a padded axis is not known."""
    op, x = node.op, node.inputs[0]
    if not isinstance(op, Pad) or op.pad_mode not in MODES or op.reflect_type == "odd":
        return None
    if op.static_pad_width is None:
        return None
    for axis, widths in enumerate(op.static_pad_width):
        if not any(widths):
            continue
        length = known_length(lengths_of(x)[axis])
        if length is None:
            return None
        index = np.pad(np.arange(length), widths, mode=op.pad_mode)
        x = x[(*[slice(None)] * axis, index)]
    return x
