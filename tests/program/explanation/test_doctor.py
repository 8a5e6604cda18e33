import json
from email.message import Message
from importlib import metadata
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

import kfgn_graph as kfgn
from kfgn_graph.program.cli.app import app
from kfgn_graph.program.explanation import diagnosis, environment, requirements
from kfgn_graph.program.explanation.diagnosis import NOT_INSTALLED, Diagnosis
from kfgn_graph.program.explanation.environment import BackendCheck, Library, check_backend
from kfgn_graph.program.explanation.requirements import Extra, extras
from kfgn_graph.program.machine import machine_record

ON_CPU = BackendCheck("numba", None, ("cpu",))
BROKEN = BackendCheck("jax", "it fails with RuntimeError: no")


class Installed:
    """A distribution with requirements of its own."""

    requires = (
        "numpy>=2.0",
        "no-such-package>=1",
        "rich<1; extra == 'cli'",
        "numpy>=2.0; extra == 'cli'",
        "pytest>=8; extra == 'tests'",
        "jax>=0.1; extra == 'jax'",
        "jax[cuda]>=0.1; extra == 'cuda'",
    )

    @property
    def metadata(self) -> Message:
        message = Message()
        for name in ("cli", "tests", "jax", "cuda"):
            message["Provides-Extra"] = name
        return message


def found(**changed: object) -> Diagnosis:
    machine = {
        "processor": "a [bold]processor[/]",
        "cpus": 2,
        "system": "Linux",
        "python": "3.12",
        "versions": {"numpy": "2.0"},
        "thread_settings": {},
    }
    plain = {
        "machine": machine,
        "backends": [ON_CPU],
        "auto": "numba",
        "compiler": None,
        "blas_flags": "",
        "libraries": [Library("openblas", None, 2, "numpy")],
        "cards": [],
        "extras": [Extra("", ()), Extra("jax", ("jax>=0.12",))],
    }
    return Diagnosis(**{**plain, **changed})


def run(monkeypatch: pytest.MonkeyPatch, *options: str, **changed: object):
    monkeypatch.setattr("kfgn_graph.program.cli.doctor.examine", lambda: found(**changed))
    return CliRunner().invoke(app, ["doctor", *options])


def test_jax_compiles_here_and_an_unknown_backend_does_not():
    check = check_backend("jax")
    assert check.problem is None
    assert check.devices != ()
    assert check.seconds is not None and check.seconds > 0
    assert "is not one of" in (check_backend("fortran").problem or "")
    assert check_backend("fortran").seconds is None


def test_a_backend_that_fails_is_told_by_its_error(monkeypatch):
    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("the driver is too old\nand more")

    monkeypatch.setattr(kfgn, "compile_update", fail)
    assert check_backend("jax").problem == "it fails with RuntimeError: the driver is too old"


def test_a_backend_that_computes_wrongly_is_refused(monkeypatch):
    numbers = SimpleNamespace(eye=np.eye, array_equal=lambda a, b: False)
    monkeypatch.setattr(environment, "np", numbers)
    assert "gives wrong results" in (check_backend("jax").problem or "")


def test_libraries_are_told_by_the_package_that_brought_them():
    assert {"numpy", "scipy"} <= {library.owner for library in environment.libraries()}
    assert all(library.threads >= 1 for library in environment.libraries())


def test_a_driver_that_fails_is_told(monkeypatch):
    monkeypatch.setattr(environment.shutil, "which", lambda name: "/bin/false")
    (card,) = environment.graphics_cards()
    assert "nvidia-smi fails" in card


def test_what_is_missing_or_too_new_is_found(monkeypatch):
    found_rich = metadata.version("rich")
    versions = {"numpy": "2.1", "rich": found_rich, "jax": "0.12"}
    of_jax = ["numpy>=2", "plugin>=0.12; extra == 'cuda'", "tpu>=1; extra == 'tpu'"]

    def distribution(name: str) -> object:
        if name == requirements.PACKAGE:
            return Installed()
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return SimpleNamespace(version=versions[name], requires=of_jax if name == "jax" else None)

    monkeypatch.setattr(metadata, "distribution", distribution)
    assert extras() == [
        Extra("", ("no-such-package>=1",)),
        Extra("cli", (f"rich<1 (found {found_rich})",)),
        Extra("jax", ()),
        Extra("cuda", ("plugin>=0.12",)),
    ]
    assert [extra.remedy for extra in extras() or ()] == [
        "pip install kfgn_graph",
        'pip install "kfgn_graph[cli]"',
        None,
        'pip install "kfgn_graph[cuda]"',
    ]


def test_a_checkout_that_is_not_installed_has_no_requirements(monkeypatch):
    def absent(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(requirements.metadata, "distribution", absent)
    assert extras() is None
    assert found(extras=None).advice == [NOT_INSTALLED]
    assert found(extras=None).problems == []


def test_a_card_on_which_nothing_computes_gives_advice():
    assert found(cards=["H100"]).advice[0].endswith('pip install "kfgn_graph[cuda]".')
    on_card = BackendCheck("jax", None, ("gpu (H100)",))
    assert found(cards=["H100"], backends=[ON_CPU, on_card]).advice == []


def test_a_usable_machine_exits_with_zero_and_names_what_is_missing(monkeypatch):
    done = run(monkeypatch)
    assert done.exit_code == 0
    assert 'pip install "kfgn_graph[jax]"' in done.stdout
    assert "a [bold]processor[/]" in done.stdout


def test_a_broken_default_backend_exits_with_five_and_offers_another(monkeypatch):
    done = run(monkeypatch, backends=[BROKEN, ON_CPU], auto="jax")
    assert done.exit_code == 5
    assert 'Or set backend = "numba" in the spec.' in done.stderr
    assert "No problems found" not in done.stdout


def test_a_missing_requirement_exits_with_five(monkeypatch):
    done = run(monkeypatch, extras=[Extra("", ("scipy>=1.13",))])
    assert done.exit_code == 5
    assert "missing: scipy>=1.13; install with: pip install kfgn_graph." in done.stderr


def test_json_has_the_same_as_the_tables(monkeypatch):
    done = run(monkeypatch, "--json", backends=[BROKEN], auto="jax")
    document = json.loads(done.stdout)
    assert done.exit_code == 5
    assert document["ok"] is False
    assert document["backends"][0]["problem"] == BROKEN.problem
    assert document["extras"][1]["remedy"] == 'pip install "kfgn_graph[jax]"'


@pytest.mark.slow
def test_the_whole_examination_finds_backends():
    seen = diagnosis.examine()
    assert [check.name for check in seen.backends] == ["jax", "numba", "c"]
    assert seen.backends[0].problem is None


def test_what_sets_threads_and_kernels_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    settings = machine_record()["thread_settings"]
    assert isinstance(settings, dict) and settings["OPENBLAS_CORETYPE"] == "Haswell"
    said = run(monkeypatch, machine={**found().machine, "thread_settings": settings}).output
    assert "OPENBLAS_CORETYPE Haswell" in said
