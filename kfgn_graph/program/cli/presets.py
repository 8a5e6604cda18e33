"""``kfgn presets``: the specs that are included in the program."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from kfgn_graph.program.cli.common import AsJson, console, preset_names, print_json, told
from kfgn_graph.program.spec import json_schema, preset, presets
from kfgn_graph.program.spec.reading import preset_text

Name = Annotated[
    str | None,
    typer.Argument(help="Print the spec of this preset as TOML.", autocompletion=preset_names),
]
Schema = Annotated[
    bool, typer.Option("--schema", help="Print the JSON Schema of specs, for use in editors.")
]


@told
def show_presets(name: Name = None, schema: Schema = False, as_json: AsJson = False) -> None:
    """List the specs that are included in the program, or print one as a template."""
    if schema:
        print_json(json_schema())
    elif name is not None and as_json:
        print_json(preset(name).model_dump(mode="json", exclude_defaults=True))
    elif name is not None:
        typer.echo(preset_text(name), nl=False)
    elif as_json:
        print_json(presets())
    else:
        table = Table("name", "description", box=None)
        for word, description in presets().items():
            table.add_row(word, description)
        console().print(table)
