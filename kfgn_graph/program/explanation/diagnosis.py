"""The diagnosis of a machine: backends, libraries, packages, problems and advice."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from kfgn_graph.program.explanation.environment import (
    BACKENDS,
    BackendCheck,
    Library,
    c_blas_flags,
    check_backend,
    compiler,
    graphics_cards,
    libraries,
)
from kfgn_graph.program.explanation.requirements import Extra, extras
from kfgn_graph.program.machine import machine_record
from kfgn_graph.program.rules import resolve_backend

NOT_INSTALLED = (
    "kfgn_graph itself is not installed, so its requirements are not known. Run pip install -e . "
    "in the checkout."
)


@dataclass(frozen=True)
class Diagnosis:
    """The findings about a machine.

    Attributes
    ----------
    machine : dict
        The record from :func:`kfgn_graph.program.machine.machine_record`.
    backends : list of BackendCheck
        The result of the test of each backend.
    auto : str
        The backend that ``auto`` selects.
    compiler : str or None
        The command of the C++ compiler.
    blas_flags : str
        The linker flags for BLAS in PyTensor's C code.
    libraries : list of Library
        The loaded libraries with thread pools.
    cards : list of str
        The names of NVIDIA graphics cards.
    extras : list of Extra or None
        The requirements, then the extras; None if the package itself is not installed.
    """

    machine: dict[str, Any]
    backends: list[BackendCheck]
    auto: str
    compiler: str | None
    blas_flags: str
    libraries: list[Library]
    cards: list[str]
    extras: list[Extra] | None

    @property
    def problems(self) -> list[str]:
        """The problems that prevent a default update from compiling, with their remedies."""
        found = [
            f"missing: {', '.join(extra.missing)}; install with: {extra.remedy}."
            for extra in self.extras or ()
            if not extra.name and extra.missing
        ]
        usable = [check.name for check in self.backends if check.problem is None]
        for check in self.backends:
            if check.name == self.auto and check.problem is not None:
                others = f' Or set backend = "{usable[0]}" in the spec.' if usable else ""
                found.append(f'backend "auto" is {check.name}: {check.problem}{others}')
        return found

    @property
    def advice(self) -> list[str]:
        """Suggestions that are not needed for an update to compile."""
        given = [NOT_INSTALLED] if self.extras is None else []
        on = [device for check in self.backends for device in check.devices]
        if self.cards and all(device.startswith("cpu") for device in on):
            given.append(
                "there is a graphics card, but no backend uses it; install with: "
                'pip install "kfgn_graph[cuda]".'
            )
        return given

    def as_dict(self) -> dict[str, Any]:
        """Return the diagnosis as a JSON-serialisable dictionary."""
        return {
            "ok": not self.problems,
            "problems": self.problems,
            "advice": self.advice,
            **asdict(self),
            "extras": None
            if self.extras is None
            else [{**asdict(extra), "remedy": extra.remedy} for extra in self.extras],
        }


def examine() -> Diagnosis:
    """Diagnose this machine. Each backend compiles a small update, which takes seconds."""
    backends = [check_backend(name) for name in BACKENDS]
    return Diagnosis(
        machine_record(),
        backends,
        resolve_backend("auto"),
        compiler(),
        c_blas_flags(),
        libraries(),
        graphics_cards(),
        extras(),
    )
