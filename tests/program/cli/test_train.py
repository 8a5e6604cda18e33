import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from kfgn_graph.program.cli.app import app
from kfgn_graph.program.runs import METRICS
from tests.program.small import spec_text, write_data

ROOT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-m", "kfgn_graph.program"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
GRAPH = """
import numpy as np, pytensor, pytensor.tensor as pt
def f():
    x, W = pt.fmatrix("x"), pytensor.shared(np.ones((4, 1), "float32"), name="W")
    return ((x @ W) ** 2).mean(), [W], [x]
"""
CLASSIFIER = """
import numpy as np, pytensor, pytensor.tensor as pt
def f():
    x, y = pt.fmatrix("x"), pt.lvector("y")
    W = pytensor.shared(np.ones(({width}, {classes}), "float32"), name="W")
    return -pt.special.log_softmax(x @ W, axis=1)[pt.arange(y.size), y].mean(), [W], [x, y]
"""


@pytest.fixture
def spec(tmp_path, monkeypatch):
    write_data(tmp_path)
    path = tmp_path / "small.toml"
    path.write_text(spec_text())
    monkeypatch.chdir(tmp_path)
    return path


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def started(*arguments: object, **settings):
    """Start the program in a process, with its output in pipes unless the settings say more."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.Popen(command, **{"env": ENVIRONMENT, **pipes, **settings})


def test_lines_tell_of_evaluations_where_there_is_no_terminal(spec):
    done = run("train", spec)
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "runs/small-1: updates 1 to 12"
    assert lines[1] == "compiling"
    assert lines[2].startswith("compiled ")
    assert lines[3].startswith("update 0: loss ")
    assert len(lines) == 8
    assert "kfgn report runs/small-1" in lines[-1]
    assert "\x1b" not in done.stdout


def test_quiet_shows_the_end_alone_and_json_a_document(spec):
    assert len(run("train", spec, "--quiet").stdout.splitlines()) == 1
    document = json.loads(run("train", spec, "--json", "--runs", "other").stdout)
    assert document["run"] == "other/small-1"
    assert (document["update"], document["reason"]) == (12, "updates")
    assert document["evaluation"]["update"] == 12


@pytest.mark.parametrize(
    ("options", "update"),
    [(["--updates", 2], 2), (["--epochs", 0.5], 2), (["--seconds", 1e-9], 1)],
)
def test_options_replace_the_budget(spec, options, update):
    assert json.loads(run("train", spec, "--json", *options).stdout)["update"] == update


@pytest.mark.parametrize(
    ("option", "value"), [("--epochs", "nan"), ("--seconds", "-1"), ("--updates", "9" * 30)]
)
def test_a_budget_that_is_none_is_an_error_of_specs(spec, option, value):
    done = run("train", spec, option, value)
    assert done.exit_code == 2
    assert f"error: {option}: found " in done.stderr


def test_resume_goes_on_with_another_budget(spec):
    run("train", spec, "--updates", 3)
    done = run("resume", "runs/small-1", "--updates", 5, "--json")
    assert json.loads(done.stdout)["update"] == 5


def test_resume_of_a_finished_run_says_that_the_budget_is_met(spec):
    run("train", spec, "--updates", 1)
    done = run("resume", "runs/small-1")
    assert done.exit_code == 0
    first, last = done.stdout.splitlines()
    assert first == "runs/small-1: the budget of 1 updates is met; `--updates N` continues"
    assert last.startswith("runs/small-1: 1 updates in ")


def test_resume_takes_an_older_checkpoint(spec):
    run("train", spec)
    done = run("resume", "runs/small-1", "--from", "update-00000004.safetensors", "--quiet")
    assert done.exit_code == 0, done.stderr
    missing = run("resume", "runs/small-1", "--from", "update-00000001.safetensors")
    assert missing.exit_code == 4
    assert "there is no such checkpoint" in missing.stderr


def test_a_run_that_was_given_up_is_an_error(spec):
    spec.write_text(spec_text(method='{ name = "sgd", rate = 1e38 }', budget="updates = 200"))
    done = run("train", spec, "--quiet")
    assert done.exit_code == 1
    assert "Lower method.rate" in done.stderr


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (("hidden", "hiden"), 2, 'did you mean "hidden"'),
        (("data.npz", "none.npz"), 3, "none.npz is not a file"),
        (("batch = 10", "batch = 1000"), 2, "there are 40 examples"),
        (
            ('batch = 10\nbackend = "jax"\nmethod = { name = "adam", rate = 0.01 }', "batch = 1"),
            2,
            "kfra needs at least two examples",
        ),
    ],
)
def test_what_is_wrong_has_its_exit_code(spec, change, code, message):
    spec.write_text(spec.read_text().replace(*change))
    done = run("train", spec)
    assert done.exit_code == code
    assert message in done.stderr
    assert not Path("runs").exists()


@pytest.mark.parametrize("method", ["kfra", "sgd"])
@pytest.mark.parametrize(("width", "classes"), [(3, 3), (4, 2)])
def test_data_that_do_not_fit_a_graph_leave_no_run(spec, method, width, classes):
    name = f"unfit_{width}_{classes}_{os.getpid()}"
    Path(f"{name}.py").write_text(CLASSIFIER.format(width=width, classes=classes))
    data, budget = '[data]\nfile = "data.npz"\n', "[budget]\nupdates = 1\n"
    text = f'graph = "{name}:f"\nmethod = "{method}"\nbatch = 10\nbackend = "jax"\n'
    spec.write_text(text + data + budget)
    before = sorted(Path().iterdir())
    for command in (["train"], ["bench", "--pause", 0], ["explain", "--measure"]):
        done = run(*command, spec)
        assert done.exit_code == 2
        assert "error: data: " in done.stderr
        assert sorted(Path().iterdir()) == before


def test_classes_without_an_example_are_noted(spec):
    rng = np.random.default_rng(0)
    np.savez("data.npz", x=rng.normal(size=(40, 4)), y=np.arange(40) % 2 * 4)
    done = run("train", spec, "--updates", 1, "--quiet")
    assert done.exit_code == 0
    assert "3 classes have no example: 1, 2, 3." in done.stderr


def test_data_that_are_cut_off_are_an_error_of_data(spec):
    data = spec.with_name("data.npz")
    data.write_bytes(data.read_bytes()[:-100])
    done = run("train", spec)
    assert done.exit_code == 3
    assert "is not a readable .npz file" in done.stderr


def test_a_folder_that_cannot_be_written_is_told(spec):
    Path("file").write_text("")
    done = run("train", spec, "--runs", "file")
    assert done.exit_code == 4
    assert "cannot write file" in done.stderr


def test_a_fault_of_the_program_is_one_line(spec, monkeypatch):
    def broken(*arguments: object) -> None:
        raise ZeroDivisionError("really")

    monkeypatch.setattr("kfgn_graph.program.cli.train.start", broken)
    done = run("train", spec)
    assert done.exit_code == 70
    assert "internal error: ZeroDivisionError: really" in done.stderr
    assert "Traceback" not in done.stderr
    monkeypatch.setenv("KFGN_DEBUG", "1")
    assert isinstance(run("train", spec).exception, ZeroDivisionError)


def test_another_run_s_checkpoint_cannot_be_named(spec):
    run("train", spec, "--updates", 2)
    run("train", spec, "--updates", 2)
    other = "../../small-2/checkpoints/update-00000002.safetensors"
    done = run("resume", "runs/small-1", "--from", other)
    assert done.exit_code == 4
    assert "there is no such checkpoint" in done.stderr


def test_a_run_of_a_function_is_resumed_with_trust(spec):
    name = f"strange_{os.getpid()}"
    Path(f"{name}.py").write_text(GRAPH)
    text = spec_text().replace('loss = "softmax"', f'graph = "{name}:f"')
    spec.write_text(text.replace("[network]\nhidden = [5]\n", "").replace("method", "#"))
    spec.write_text(spec.read_text().replace("[data]", "[data]\narrays = ['x']"))
    spec.write_text('method = "adam"\n' + spec.read_text())
    assert run("train", spec, "--updates", 2).exit_code == 0
    refused = run("resume", "runs/small-1", "--updates", 3)
    assert refused.exit_code == 4
    assert f"its spec names the function {name}:f" in refused.stderr
    assert "add --trust" in refused.stderr
    assert run("resume", "runs/small-1", "--updates", 3, "--trust").exit_code == 0


def test_names_of_a_stranger_do_not_reach_the_terminal(spec):
    runs = "strange\x1b[2J\u202e"
    done = run("train", spec, "--runs", runs)
    assert "strange\\x1b[2J\\u202e/small-1: updates 1 to" in done.stdout
    compared = run("compare", f"{runs}/small-1", f"{runs}/small-1")
    refused = run("resume", f"{runs}/none")
    for told in (done.stdout, compared.stdout, refused.stderr):
        assert told.replace("\n", "").isprintable()


@pytest.mark.parametrize("name", ["x" * 5000, "x/" * 3000])
@pytest.mark.parametrize(("command", "code"), [("compare", 4), ("resume", 4), ("train", 2)])
def test_a_name_that_is_too_long_is_an_error(command, code, name):
    assert run(command, name).exit_code == code


@pytest.mark.parametrize("command", [["compare"], ["train"]])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no full device")
def test_output_to_a_full_device_is_an_error(spec, command):
    run("train", spec, "--updates", 2)
    what = str(spec) if command == ["train"] else "runs/small-1"
    with Path("/dev/full").open("w") as full, started(*command, what, stdout=full) as done:
        told = done.communicate(timeout=120)[1]
    assert done.returncode == 1
    assert "No space left on device" in told
    if command == ["train"]:
        assert len(list(Path("runs/small-2/checkpoints").iterdir())) == 2


def test_a_closed_output_is_no_fault_and_no_file_takes_its_place(spec):
    command = ["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *COMMAND, "train", str(spec)]
    assert subprocess.run(command, env=ENVIRONMENT, check=False).returncode == 0
    lines = (Path("runs/small-1") / METRICS).read_text().splitlines()
    assert all(json.loads(line)["kind"] for line in lines)
    assert len(list(Path("runs/small-1/checkpoints").iterdir())) == 3


def test_characters_that_the_output_lacks_are_escaped(spec):
    for updates in (1, 3):
        run("train", spec, "--updates", updates)
    environment = ENVIRONMENT | {"PYTHONIOENCODING": "ascii"}
    with started("compare", "runs/small-1", "runs/small-2", env=environment) as done:
        shown = done.communicate(timeout=60)[0]
    assert done.returncode == 0
    assert "\\u2013" in shown


@pytest.mark.parametrize(
    "command", [["report", "runs/small-1", "-o"], ["explain", "digits", "--svg"]]
)
def test_a_link_is_neither_replaced_nor_written_through(spec, command):
    run("train", spec, "--updates", 1)
    Path("target").write_text("precious")
    Path("link").symlink_to("target")
    done = run(*command, "link")
    assert done.exit_code == 4
    assert "link is a symbolic link" in done.stderr
    assert Path("link").is_symlink()
    assert Path("target").read_text() == "precious"


@pytest.mark.slow
def test_ctrl_c_stops_with_a_checkpoint_and_its_exit_code(spec):
    spec.write_text(spec_text(budget="updates = 1_000_000"))
    process = started("train", spec)
    metrics = Path("runs/small-1") / METRICS
    until = time.monotonic() + 120
    while time.monotonic() < until and not (metrics.exists() and metrics.stat().st_size > 9999):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "To continue: kfgn resume runs/small-1" in out
    done = run("resume", "runs/small-1", "--json", "--updates", 1)
    assert json.loads(done.stdout)["update"] > 1
