from pathlib import Path

import jsonschema
import pytest
from hypothesis import given

from kfgn_graph.program.spec import GraphSpec, json_schema, parse_spec, preset, presets, to_toml
from tests.program.spec.strategies import specs

SMALL = {"loss": "softmax", "network": {"hidden": [3]}, "data": {"name": "digits"}}


@given(specs)
def test_toml_reads_back(spec: GraphSpec) -> None:
    assert parse_spec(to_toml(spec), "toml") == spec


@given(specs)
def test_the_schema_takes_every_spec(spec: GraphSpec) -> None:
    jsonschema.validate(spec.model_dump(mode="json", exclude_defaults=True), json_schema())


def test_only_what_is_no_default_is_written() -> None:
    spec = GraphSpec.model_validate(SMALL | {"budget": {"updates": 3}, "method": "kfac"})
    assert to_toml(spec).split("\n") == [
        'loss = "softmax"',
        'method = "kfac"',
        "",
        "[network]",
        "hidden = [3]",
        "",
        "[data]",
        'name = "digits"',
        "",
        "[budget]",
        "updates = 3",
        "",
    ]


@pytest.mark.parametrize("method", ["kfac", {"name": "adam", "rate": 0.1}])
def test_the_schema_takes_a_method_by_name_or_by_table(method: object) -> None:
    jsonschema.validate(SMALL | {"budget": {"updates": 3}, "method": method}, json_schema())


@pytest.mark.parametrize(
    "wrong", [{"batch": 0}, {"los": 1}, {"method": "newton"}, {"network": {"hidden": [0]}}]
)
def test_the_schema_refuses_what_the_models_do(wrong: dict[str, object]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(SMALL | {"budget": {"updates": 3}} | wrong, json_schema())


def test_the_schema_describes_every_key() -> None:
    tables = [json_schema(), *json_schema()["$defs"].values()]
    keys = [(t["title"], k, v) for t in tables for k, v in t["properties"].items()]
    assert len(keys) > 50
    assert [(table, key) for table, key, value in keys if "description" not in value] == []


def test_presets_ship_with_the_package() -> None:
    folder = Path(__file__).parents[3] / "kfgn_graph" / "program" / "spec" / "presets"
    assert sorted(presets()) == sorted(path.stem for path in folder.glob("*.toml"))
    assert all(parse_spec(to_toml(preset(name)), "toml") == preset(name) for name in presets())
