"""Specs: files that declare a network and a training run, read as :class:`GraphSpec`."""

from kfgn_graph.program.spec.models import GraphSpec
from kfgn_graph.program.spec.reading import (
    load_spec,
    parse_spec,
    preset,
    preset_text,
    presets,
    read_spec,
)
from kfgn_graph.program.spec.writing import json_schema, to_toml

__all__ = [
    "GraphSpec",
    "json_schema",
    "load_spec",
    "parse_spec",
    "preset",
    "preset_text",
    "presets",
    "read_spec",
    "to_toml",
]
