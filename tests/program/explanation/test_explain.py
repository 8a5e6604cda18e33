import json

import pytest
from typer.testing import CliRunner

from kfgn_graph.program.cli.app import app
from kfgn_graph.program.explanation import timing
from tests.program.explanation.graphs import write_spec


def run(*arguments: str):
    return CliRunner().invoke(app, ["explain", *arguments], env={"COLUMNS": "160"})


def test_the_table_names_layers_equations_and_a_prediction(tmp_path):
    done = run(str(write_spec(tmp_path, "residual")))
    assert done.exit_code == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["W1", "6", "→", "6", "7²", "(21)", "6²", "(26)"] in [line[:8] for line in lines]
    assert any(line[:1] == ["predicted"] for line in lines)
    assert "from the loss" in done.stdout
    assert "is not predicted" in done.stdout


def test_json_has_layers_parts_and_seconds(tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "UNIT_SIZE", 50)
    done = run(str(write_spec(tmp_path, "library_model")), "--json", "--measure")
    document = json.loads(done.stdout)
    assert [layer["Q"] for layer in document["layers"]] == [[5, 5], [7, 7]]
    assert document["layers"][0]["equations"] == {"Q": "(21)", "G": "(26)"}
    parts = sum(part["seconds"] for part in document["parts"])
    assert document["predicted_seconds"] == pytest.approx(parts)
    measured = document["measured"]
    assert measured["over_predicted"] == pytest.approx(measured["seconds"] / parts)


def test_a_tied_weight_is_one_layer(tmp_path):
    spec = tmp_path / "tied.toml"
    spec.write_text(
        'loss = "bernoulli"\nbatch = 10\nmethod = "adam"\n[network]\nhidden = [40]\ntied = true\n'
        '[data]\nname = "digits"\n[budget]\nupdates = 1\n'
    )
    done = run(str(spec))
    assert done.exit_code == 0, done.stderr
    weight, bias = json.loads(run(str(spec), "--json").stdout)["layers"]
    # the encoder's product and the decoder's, and the copies of the encoder's bias
    assert (weight["inputs"], weight["outputs"]) == (40, 64)
    assert weight["operations"] >= 2 * bias["operations"]


def test_an_unknown_spec_is_an_error_of_specs():
    assert run("no-such-preset").exit_code == 2
