import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from kfgn_graph import __version__
from kfgn_graph.errors import BackendError, CheckpointError, KfgnError, SpecError
from kfgn_graph.program.cli.app import app
from kfgn_graph.program.cli.common import code_of
from kfgn_graph.program.datasets import DataCorrupt, curves, files
from kfgn_graph.program.datasets.mnist import FILES
from kfgn_graph.program.spec import json_schema, parse_spec, preset
from tests.program.report.folders import make_run

COMMANDS = [
    "bench",
    "compare",
    "data",
    "doctor",
    "explain",
    "presets",
    "report",
    "resume",
    "train",
]


def run(*arguments: str, **settings):
    return CliRunner().invoke(app, list(arguments), **settings)


def test_help_names_every_command_and_each_has_its_own():
    listed = run("--help").stdout
    for command in COMMANDS:
        assert command in listed
        done = run(command, "-h")
        assert done.exit_code == 0
        assert "Usage:" in done.stdout


def test_the_version_is_printed():
    assert run("--version").stdout.strip() == f"kfgn {__version__}"


def test_an_unknown_command_offers_the_nearest():
    done = run("trian")
    assert done.exit_code == 2
    assert "train" in done.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SpecError, 2),
        (DataCorrupt, 3),
        (CheckpointError, 4),
        (BackendError, 5),
        (KfgnError, 1),
    ],
)
def test_each_kind_of_error_has_its_exit_code(error, code):
    assert code_of(error("what")) == code


def test_presets_are_listed_and_printed():
    names = json.loads(run("presets", "--json").stdout)
    assert {"mnist-autoencoder", "digits"} <= names.keys()
    assert parse_spec(run("presets", "digits").stdout, "toml") == preset("digits")
    as_json = run("presets", "digits", "--json").stdout
    assert parse_spec(as_json, "json") == preset("digits")
    assert "mnist-autoencoder" in run("presets").stdout


def test_the_schema_is_printed_for_editors():
    assert json.loads(run("presets", "--schema").stdout) == json_schema()


def test_an_unknown_preset_offers_the_nearest():
    done = run("presets", "digit")
    assert done.exit_code == 2
    assert 'did you mean "digits"?' in done.stderr


def test_data_sets_are_listed_with_what_a_spec_says():
    found = {entry["name"]: entry for entry in json.loads(run("data", "list", "--json").stdout)}
    assert found["mnist"]["spec"] == 'name = "mnist"'
    assert found["uci/yacht"]["spec"] == 'name = "uci", table = "yacht"'
    assert found["curves"]["way"] == "generated"
    assert "uci/yacht" in run("data", "list").stdout


def test_get_and_make_send_each_other_what_they_do_not_do():
    got, made = run("data", "get", "curves"), run("data", "make", "digits")
    assert (got.exit_code, made.exit_code) == (2, 2)
    assert "kfgn data make curves" in got.stderr
    assert "kfgn data get digits" in made.stderr


def test_generated_data_that_do_not_fit_leave_nothing(tmp_path, monkeypatch):
    def full(stream, **arrays):
        stream.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setenv("KFGN_CACHE", str(tmp_path))
    monkeypatch.setattr(curves, "COUNTS", {"train": 3, "test": 2})
    monkeypatch.setattr(np, "savez", full)
    done = run("data", "make", "curves")
    assert done.exit_code == 3
    assert "cannot write" in done.stderr
    assert "KFGN_CACHE" in done.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_data_set_of_other_bytes_is_an_error_of_data(tmp_path, monkeypatch):
    for split in FILES.values():
        for file in split:
            (tmp_path / file.path).parent.mkdir(exist_ok=True)
            (tmp_path / file.path).write_bytes(b"other")
    monkeypatch.setenv("KFGN_DATA", str(tmp_path))
    done = run("data", "get", "mnist")
    assert done.exit_code == 3
    assert "its SHA-256 is" in done.stderr
    assert "Delete or replace the file" in done.stderr


def test_a_missing_data_set_is_two_lines_and_details_are_for_the_asking(tmp_path, monkeypatch):
    def fail(*arguments, **settings):
        raise OSError("no network")

    monkeypatch.setattr(files, "data_folders", lambda folder=None: [tmp_path, tmp_path / "other"])
    monkeypatch.setattr("pooch.retrieve", fail)
    for command in (["data", "get", "mnist"], ["explain", "mnist-autoencoder"]):
        done = run(*command)
        assert done.exit_code == 3
        assert len(done.stderr.splitlines()) == 2
        assert "KFGN_DATA" in done.stderr
        assert "--verbose" in done.stderr
    told = run("data", "get", "mnist", "--verbose").stderr
    assert str(tmp_path / "other") in told
    assert "no network" in told


@pytest.mark.parametrize(
    "words",
    [
        ["report", "RUN", "-o", ""],
        ["report", "RUN", "-o", "."],
        ["report", "RUN", "-o", "new/"],
        ["report", "RUN", "-o", "a\0b"],
        ["report", ""],
        ["compare", "RUN", ""],
        ["resume", ""],
        ["train", "digits", "--runs", ""],
        ["explain", "digits", "--svg", ""],
        ["explain", "digits", "--latex", ".."],
        ["explain", "digits", "--svg", "same", "--latex", "same"],
    ],
)
def test_a_path_that_names_nothing_is_a_usage_error(tmp_path, monkeypatch, words):
    make_run(tmp_path / "RUN")
    monkeypatch.chdir(tmp_path)
    assert run(*words).exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["RUN"]


@pytest.mark.parametrize(
    ("command", "path"),
    [
        (["report", "RUN", "-o"], "RUN/run.json"),
        (["report", "RUN", "-o"], "RUN/metrics.jsonl"),
        (["report", "RUN", "-o"], "RUN/run.json.draft"),
        (["report", "RUN", "-o"], "RUN/checkpoints/update-00000099.safetensors"),
        (["report", "RUN", "-o"], "RUN/snapshots/update-00000020.npz"),
        (["report", "RUN", "-o"], "mine"),
        (["explain", "digits", "--svg"], "mine"),
        (["explain", "digits", "--latex"], "RUN/run.json"),
        (["explain", "digits", "--latex"], "mine"),
    ],
)
def test_no_file_of_another_kind_is_replaced(tmp_path, monkeypatch, command, path):
    make_run(tmp_path / "RUN")
    monkeypatch.chdir(tmp_path)
    Path("mine").write_text("<!doctype html>\n<svg>\\documentclass{article}")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    done = run(*command, path)
    assert done.exit_code == 4
    assert "give another name" in done.stderr
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_a_report_replaces_a_report_and_no_other_file(tmp_path, monkeypatch):
    make_run(tmp_path / "RUN")
    monkeypatch.chdir(tmp_path)
    Path("RUN/page.html").write_text("")
    Path("RUN/page.html.draft").write_text("mine")
    for _ in range(2):
        assert run("report", "RUN", "-o", "RUN/page.html").exit_code == 0
    assert Path("RUN/page.html.draft").read_text() == "mine"
    assert not [path for path in Path("RUN").iterdir() if path.name.startswith(".kfgn")]


@pytest.mark.parametrize(
    ("words", "count", "expected"),
    [
        ("kfgn train mnist-a", "2", {"mnist-autoencoder"}),
        ("kfgn presets dig", "2", {"digits"}),
        ("kfgn data get uci/ya", "3", {"uci/yacht"}),
        ("kfgn re", "1", {"report", "resume"}),
    ],
)
def test_shells_complete_commands_presets_and_data(words, count, expected):
    variables = {"_KFGN_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": count}
    done = run(env=variables, prog_name="kfgn")
    assert set(done.stdout.split()) == expected
