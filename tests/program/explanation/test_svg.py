from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from kfgn_graph.program.cli.app import app
from tests.program.explanation.graphs import write_spec

SVG = "{http://www.w3.org/2000/svg}"


def drawn(tmp_path, function: str):
    path = tmp_path / "graph.svg"
    spec = write_spec(tmp_path, function)
    done = CliRunner().invoke(app, ["explain", str(spec), "--svg", str(path)])
    assert done.exit_code == 0, done.stderr
    return ElementTree.parse(path).getroot()


@pytest.mark.parametrize(
    ("function", "layers", "sums"),
    [("residual", 5, 2), ("shared_positions", 2, 0), ("library_model", 2, 0)],
)
def test_each_layer_and_sum_is_drawn(tmp_path, function, layers, sums):
    root = drawn(tmp_path, function)
    assert len(root.findall(f".//{SVG}polygon[@class='layer']")) == layers
    assert len(root.findall(f".//{SVG}circle[@class='sum']")) == sums
    assert len(root.findall(f".//{SVG}path[@class='edge target']")) == 1


def test_functions_are_named_by_their_values(tmp_path):
    texts = [text.text for text in drawn(tmp_path, "residual").iter(f"{SVG}text")]
    assert texts.count("tanh") == 2
    assert {"swish", "relu"} <= set(texts)


def test_a_tied_weight_is_drawn_at_each_affine_map(tmp_path):
    spec = tmp_path / "tied.toml"
    spec.write_text(
        'loss = "bernoulli"\nbatch = 10\nmethod = "adam"\n[network]\nhidden = [40]\ntied = true\n'
        '[data]\nname = "digits"\n[budget]\nupdates = 1\n'
    )
    path = tmp_path / "graph.svg"
    done = CliRunner().invoke(app, ["explain", str(spec), "--svg", str(path)])
    assert done.exit_code == 0, done.stderr
    root = ElementTree.parse(path).getroot()
    assert len(root.findall(f".//{SVG}polygon[@class='layer']")) == 2
