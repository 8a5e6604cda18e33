"""The headers of runs and checkpoints, damaged or crafted: one sentence, and nothing written."""

import json
import struct
from pathlib import Path

import pytest
from safetensors.numpy import save
from typer.testing import CliRunner

from kfgn_graph.errors import CheckpointError
from kfgn_graph.program.checkpoints import FORMAT, KEY, Checkpoint, _digest, read_checkpoint
from kfgn_graph.program.cli.app import app
from kfgn_graph.program.runs import read_run
from kfgn_graph.program.training import go_on, start
from tests.program.report.folders import make_run
from tests.program.small import Watch, interrupting, small_spec, write_data


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    write_data(folder)
    return start(small_spec(), folder, folder / "runs", interrupting(3)).path


@pytest.fixture
def unchanged(trained):
    """Let a test change a run's files; put them back, and check that no other changed."""
    before = {p: p.read_bytes() for p in trained.rglob("*") if p.is_file()}
    changed: list[Path] = []
    yield changed.append
    for path in changed:
        path.write_bytes(before[path])
    assert {p: p.read_bytes() for p in trained.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("name", ["run.json", "metrics.jsonl"])
def test_a_key_that_is_given_twice_is_refused(tmp_path, name):
    path = make_run(tmp_path / "a-1") / name
    path.write_text(path.read_text().replace("{", '{"floor": 1.0, "floor": 0.0, ', 1))
    done = CliRunner().invoke(app, ["compare", str(path.parent)])
    assert done.exit_code == 4
    assert str(path) in done.stderr


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("floor", "low", "floor: found"),
        ("floor", None, "floor: found null"),
        ("data_sha256", 5, "data_sha256: found 5"),
        ("folder", "a\0b", "folder: found"),
        ("layers", [{"name": "W"}], "layers.0.inputs is missing"),
        ("machine", [], "machine: found []"),
        ("machine", {"versions": {"numpy": None}}, "machine.versions.numpy: found null"),
        ("parameters", 1.5, "parameters: found 1.5"),
        ("spec", "x", "spec: found"),
        ("machine", {"versions": {"\ud800": "1"}}, "surrogates not allowed"),
        ("created", ..., "created is missing"),
    ],
)
@pytest.mark.parametrize("command", ["compare", "report", "resume"])
def test_each_command_refuses_a_header_that_is_wrong(tmp_path, key, value, message, command):
    path = make_run(tmp_path / "a-1")
    header = json.loads((path / "run.json").read_text()) | {key: value}
    if value is ...:
        del header[key]
    (path / "run.json").write_text(json.dumps(header))
    done = CliRunner().invoke(app, [command, str(path)])
    assert done.exit_code == 4, done.output
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"kind": "evaluation", "update": 50}, "seconds: Field required"),
        ({"kind": "evaluation", "update": 50, "seconds": 1.0, "loss": "x"}, "loss"),
        ({"kind": "evaluation", "update": 50, "seconds": 1, "loss": 1, "accuracy": 1e9}, "accur"),
        ({"kind": "update", "update": 10**400, "seconds": 1, "loss": 1}, "update"),
        ({"kind": "update", "update": 50, "seconds": None, "loss": 1}, "seconds"),
        ({"kind": "update", "update": 50, "seconds": 1, "loss": 1, "skipped": 1e308}, "skipped"),
        ({"kind": "update", "update": 50, "seconds": 1, "loss": 1, "x": [1]}, "x"),
    ],
)
@pytest.mark.parametrize("command", ["compare", "report"])
def test_each_command_refuses_metrics_that_are_wrong(tmp_path, line, message, command):
    path = make_run(tmp_path / "a-1")
    with (path / "metrics.jsonl").open("a") as stream:
        stream.write(json.dumps(line) + "\n")
    done = CliRunner().invoke(app, [command, str(path), *(["--json"] * (command == "compare"))])
    assert done.exit_code == 4, done.output
    assert "not a metrics line" in done.stderr
    assert message in done.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"counters": 5}, "counters: found 5"),
        ({"counters": {"update": True, "seconds": 0.1, "lost": 0}}, "counters.update"),
        ({"counters": {"update": 3, "seconds": 1e400, "lost": 0}}, "counters.seconds"),
        ({"order": {}}, "order.generator is missing"),
        ({"versions": None}, "versions: found null"),
        ({"spec": {}}, "another spec"),
        ({"data_sha256": "0" * 64}, "other data"),
        ({"counters": {"update": 2, "seconds": 0.1, "lost": 0}}, "of update 2, renamed"),
        ({"metrics": {"bytes": -1, "sha256": "0" * 64}}, "metrics.bytes"),
    ],
)
def test_a_checkpoint_with_a_crafted_header_is_refused(trained, unchanged, change, message):
    path = read_run(trained).checkpoints[-1][1]
    found = read_checkpoint(path)
    unchanged(path)
    path.write_bytes(_with_header(Checkpoint(found.header | change, found.state)))
    with pytest.raises(CheckpointError, match=message):
        go_on(trained, Watch())


def _with_header(checkpoint: Checkpoint) -> bytes:
    header = {"format": FORMAT, **checkpoint.header}
    header["sha256"] = _digest(header, checkpoint.state)
    return save(checkpoint.state, {KEY: json.dumps(header)})


@pytest.mark.parametrize("kind", ["BF16", "F8_E4M3", "F8_E5M2"])
def test_entries_that_numpy_does_not_have_are_named(trained, unchanged, kind):
    path = read_run(trained).checkpoints[-1][1]
    unchanged(path)
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    table = json.loads(content[8 : 8 + size])
    count = 2 if kind == "BF16" else 1
    table["x"] = {"dtype": kind, "shape": [1], "data_offsets": [0, count]}
    shifted = {k: v for k, v in table.items() if k not in ("x", "__metadata__")}
    for part in shifted.values():
        part["data_offsets"] = [place + count for place in part["data_offsets"]]
    text = json.dumps(table).encode()
    rest = bytes(count) + content[8 + size :]
    path.write_bytes(struct.pack("<Q", len(text)) + text + rest)
    with pytest.raises(CheckpointError, match=f"'x' is {kind}"):
        go_on(trained, Watch())


def test_a_checkpoint_of_60_gb_is_refused_before_it_is_read(trained, unchanged):
    path = read_run(trained).checkpoints[-1][1]
    unchanged(path)
    text = json.dumps({"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}})
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text.encode())
        stream.truncate(8 + len(text) + 4 * 10**12)  # a sparse file
    with pytest.raises(CheckpointError, match=r"4,000\.0 GB, more than the"):
        go_on(trained, Watch())
