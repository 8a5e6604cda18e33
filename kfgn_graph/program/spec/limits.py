"""The numbers that a spec may hold, as annotated types with their limits."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from kfgn_graph.arguments import MOST as LONGEST_PERIOD

MOST = 10**15
"""Largest allowed count; every JSON or TOML parser represents it exactly."""

MOST_LAYERS = 200
MOST_DRAWS = 10**6
MOST_PASSES = 10**12
GREATEST = 1e38
"""Greatest allowed real setting: float32 represents it."""

Count = Annotated[int, Field(ge=1, le=MOST)]
CountFromZero = Annotated[int, Field(ge=0, le=MOST)]
Index = Annotated[int, Field(ge=-MOST, le=MOST)]
Period = Annotated[int, Field(ge=1, le=LONGEST_PERIOD)]
Draws = Annotated[int, Field(ge=1, le=MOST_DRAWS)]
Positive = Annotated[float, Field(gt=0, le=GREATEST)]
Passes = Annotated[float, Field(gt=0, le=MOST_PASSES)]
NotNegative = Annotated[float, Field(ge=0, le=GREATEST)]
Share = Annotated[float, Field(ge=0, lt=1)]
