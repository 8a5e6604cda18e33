import re
from collections import Counter

import pytest
from typer.testing import CliRunner

from kfgn_graph.program.cli.app import app
from kfgn_graph.step.schedule import FIRST

SPEC = """
name = "a_b"
loss = "softmax"
batch = 64
{more}
[network]
hidden = [6, 5]
[data]
name = "digits"
[budget]
updates = 1
"""


def written(tmp_path, more: str) -> str:
    """Return the document that the command writes for a spec with ``more``."""
    spec, output = tmp_path / "spec.toml", tmp_path / "out.tex"
    spec.write_text(SPEC.format(more=more))
    done = CliRunner().invoke(app, ["explain", str(spec), "--latex", str(output)])
    assert done.exit_code == 0, done.stderr
    return output.read_text("utf-8")


def test_a_document_has_the_layers_factors_and_equations_of_its_method(tmp_path):
    text = written(tmp_path, 'method = "kfra"')
    assert r"W_{1} &\in \mathbb{R}^{64 \times 6}" in text
    assert r"Q_{2} &\in \mathbb{R}^{7 \times 7}, & G_{2} &\in \mathbb{R}^{5 \times 5}" in text
    assert "Eq.~(26)" in text
    assert "Eq.~(24)" not in text
    assert r"\text{from the loss}" in text


def test_settings_are_those_of_the_spec(tmp_path):
    more = (
        'method = "kflr"\nl2 = 0.5\ndamping = { rule = "constant", value = 0.25, gamma = "search",'
        " gamma_every = 7 }\nstep = { length = 0.125 }\nschedule = { refresh_every = 3 }\n"
    )
    text = written(tmp_path, more)
    assert r"$\lambda = 0.25$, constant" in text
    assert "every } 7" in text
    assert r"\delta = 0.125\, \Delta" in text
    assert "recomputed every 3 updates" in text
    assert "estimated every 5 updates" in text
    assert f"each of the first {FIRST} updates" in text
    assert "\n\n" not in text
    assert r"\mu" not in text


@pytest.mark.parametrize("method", ["kfra", "kflr", "kfac", "hessianfree", "adam", "nesterov"])
def test_every_method_gives_a_document_that_is_closed(tmp_path, method):
    text = written(tmp_path, f'method = "{method}"')
    assert r"\section*{a\_b: " in text
    depth = 0
    for sign in re.findall(r"(?<!\\)[{}]", text):
        depth += 1 if sign == "{" else -1
        assert depth >= 0
    assert depth == 0
    assert text.count(r"\[") == text.count(r"\]")
    opened, closed = (Counter(re.findall(rf"\\{w}{{([a-z*]+)}}", text)) for w in ("begin", "end"))
    assert opened == closed
    assert len(re.findall(r"(?<!\\)\$", text)) % 2 == 0


def test_a_first_order_rule_has_its_rule_and_no_curvature(tmp_path):
    text = written(tmp_path, 'method = { name = "sgd", rate = 0.5 }')
    assert r"\theta - r\, g" in text
    assert "$r = 0.5$" in text
    assert "Curvature" not in text
