"""Runs that go on: after signals, after failures, with damaged files, and on other machines."""

import json
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.faults.kills import compared
from kfgn_graph.errors import CheckpointError
from kfgn_graph.program.checkpoints import read_checkpoint
from kfgn_graph.program.machine import machine_record
from kfgn_graph.program.runs import METRICS, read_run
from kfgn_graph.program.training import LOCK, go_on
from tests.program.small import Watch, checkpoints, interrupting, train, write_data


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_data(tmp_path)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    """Return the content of every file below a folder."""
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_run_that_has_lost_its_checkpoints_is_refused_unchanged(folder):
    path = train(folder).path
    shutil.rmtree(path / "checkpoints")
    before = contents(path)
    with pytest.raises(CheckpointError, match="metrics of updates but no checkpoint"):
        go_on(path, Watch())
    assert contents(path) == before


def test_a_run_that_ended_before_its_first_checkpoint_begins_anew(folder):
    alone = train(folder, runs="alone")
    path = train(folder).path
    for place in ("checkpoints", "snapshots"):
        shutil.rmtree(path / place)
    (path / METRICS).unlink()
    go_on(path, Watch())
    assert compared(alone.path, path) == []


def test_what_is_newer_than_an_older_checkpoint_is_set_aside(folder):
    alone = train(folder, runs="alone")
    path = train(folder).path
    lines = (path / METRICS).read_bytes()
    watch = interrupting(6)
    stopped = go_on(path, watch, "update-00000004.safetensors")
    assert stopped.update == 6
    aside = path / "set-aside" / "1"
    assert any(str(aside) in note for note in watch.notes)
    assert sorted(p.name for p in (aside / "checkpoints").iterdir()) == [
        "update-00000008.safetensors",
        "update-00000012.safetensors",
    ]
    assert lines.endswith((aside / METRICS).read_bytes())
    assert read_run(path).updates["update"].tolist() == list(range(1, 7))
    assert [update for update, _ in read_run(path).snapshots] == [0, 5]
    watch = Watch()
    go_on(path, watch)
    assert watch.updates == list(range(7, 13))
    assert compared(alone.path, path) == []


@pytest.mark.parametrize("place", [0.2, 0.6, 0.95])
def test_damaged_metrics_are_refused_and_an_older_checkpoint_is_offered(folder, place):
    alone = train(folder, runs="alone")
    path = train(folder, checkpoint=2, keep=9).path
    content = bytearray((path / METRICS).read_bytes())
    content[int(place * len(content))] ^= 1
    (path / METRICS).write_bytes(content)
    before = contents(path)
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl") as caught:
        go_on(path, Watch())
    assert contents(path) == before
    offered = str(caught.value).rpartition("--from ")[2].rstrip(".") + "."
    go_on(path, Watch(), offered.rstrip("."))
    assert compared(alone.path, path) == []


def test_metrics_without_some_updates_are_refused(folder):
    path = train(folder).path
    lines = (path / METRICS).read_bytes().splitlines(keepends=True)
    (path / METRICS).write_bytes(b"".join(lines[:4] + lines[5:]))
    with pytest.raises(CheckpointError, match=r"is missing|altered"):
        go_on(path, Watch())
    (path / METRICS).unlink()
    with pytest.raises(CheckpointError, match="updates 1 to 12 are missing"):
        go_on(path, Watch())


@pytest.mark.parametrize(
    "name",
    ["run.json", METRICS, LOCK, "checkpoints", "snapshots", "snapshots/update-00000000.npz"],
)
def test_nothing_is_written_through_links(folder, name):
    path = train(folder, interrupting(3)).path
    target = folder / "outside"
    (path / name).rename(target)
    (path / name).symlink_to(target)
    before = contents(folder)
    with pytest.raises(CheckpointError, match="is a symbolic link"):
        go_on(path, Watch())
    assert contents(folder) == before


def test_a_run_of_a_function_needs_trust(folder):
    (folder / "strange.py").write_text("open('executed', 'w')\nimport sys\nsys.exit()\n")
    path = train(folder, interrupting(3)).path
    header = json.loads((path / "run.json").read_text())
    del header["spec"]["network"], header["spec"]["loss"]
    header["spec"]["graph"] = "strange:f"
    (path / "run.json").write_text(json.dumps(header))
    with pytest.raises(CheckpointError, match=r"strange:f.* --trust"):
        go_on(path, Watch())
    assert "strange" not in sys.modules


@pytest.mark.parametrize(
    "error",
    [
        BrokenPipeError(32, "Broken pipe"),
        OSError(28, "No space left on device"),
        ValueError("I/O operation on closed file"),
        UnicodeEncodeError("ascii", "λ", 0, 1, "ordinal not in range"),
        SystemExit(1),
    ],
    ids=lambda error: type(error).__name__,
)
def test_output_that_fails_ends_with_a_checkpoint(folder, error):
    def fail() -> None:
        raise error

    alone = train(folder, runs="alone")
    stopped = train(folder, Watch(6, fail))
    assert (stopped.reason, stopped.update) == ("output", 6)
    assert stopped.problem
    assert checkpoints(stopped.path)[-1] == 6
    go_on(stopped.path, Watch())
    assert compared(alone.path, stopped.path) == []


def test_other_versions_and_processors_are_told_and_recorded(folder, monkeypatch):
    path = train(folder, interrupting(3)).path
    now = machine_record()
    later = now | {"processor": "another", "versions": now["versions"] | {"numpy": "99.1"}}
    monkeypatch.setattr("kfgn_graph.program.training.machine_record", lambda: later)
    watch = Watch()
    go_on(path, watch)
    (note,) = watch.notes
    assert f"numpy {np.__version__} → 99.1" in note
    assert f"processor {now['processor']} → another" in note
    record = read_run(path)
    assert record.header["machine"] == later
    (earlier,) = record.header["earlier"]
    assert earlier["until"] == 3
    assert earlier["machine"]["versions"] == now["versions"]
    newest = read_checkpoint(record.checkpoints[-1][1]).header
    assert (newest["versions"]["numpy"], newest["processor"]) == ("99.1", "another")
    again = Watch()
    go_on(path, again)
    assert again.notes == []


@pytest.mark.parametrize("numbers", [("SIGINT", "SIGINT"), ("SIGTERM",), ("SIGHUP",)])
def test_signals_end_with_a_checkpoint_and_the_run_goes_on(folder, numbers):
    def send() -> None:
        for number in numbers:
            signal.raise_signal(getattr(signal, number))

    alone = train(folder, runs="alone")
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    stopped = train(folder, Watch(5, send))
    signal.signal(signal.SIGHUP, before)
    assert (stopped.reason, stopped.update) == ("interrupted", 5)
    assert checkpoints(stopped.path)[-1] == 5
    evaluated = [line["update"] for line in read_run(stopped.path).evaluations]
    assert evaluated == ([0] if len(numbers) == 2 else [0, 5])
    go_on(stopped.path, Watch())
    assert compared(alone.path, stopped.path) == []


def test_a_hangup_that_is_ignored_stays_ignored(folder):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    outcome = train(folder, Watch(5, lambda: signal.raise_signal(signal.SIGHUP)))
    signal.signal(signal.SIGHUP, before)
    assert (outcome.reason, outcome.update) == ("updates", 12)


def test_a_third_interruption_ends_at_once_and_the_run_goes_on(folder):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def thrice() -> None:
        for _ in range(3):
            signal.raise_signal(signal.SIGINT)

    alone = train(folder, runs="alone")
    with pytest.raises(KeyboardInterrupt):
        train(folder, Watch(6, thrice))
    signal.signal(signal.SIGINT, before)
    path = folder / "runs" / "small-1"
    assert checkpoints(path) == [0, 4]
    go_on(path, Watch())
    assert compared(alone.path, path) == []
