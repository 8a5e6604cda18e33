"""All that the doctor looks at, and what it concludes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import pytensor

from kfgn_graph.program.explanation.environment import (
    BACKENDS,
    BackendCheck,
    Library,
    check_backend,
    compiler,
    graphics_cards,
    libraries,
)
from kfgn_graph.program.explanation.requirements import Extra, extras
from kfgn_graph.program.machine import machine_record
from kfgn_graph.program.rules import resolve_backend

NOT_INSTALLED = (
    "kfgn_graph itself is not installed, so that what it requires is not known: pip install -e . "
    "in the checkout."
)


@dataclass(frozen=True)
class Diagnosis:
    """What was found.

    Attributes
    ----------
    machine : dict
        See :func:`kfgn_graph.program.machine.machine_record`.
    backends : list of BackendCheck
        Each was tried.
    auto : str
        The backend that ``auto`` stands for.
    compiler : str or None
        The C++ compiler.
    blas_flags : str
        What PyTensor's C code links for its products.
    libraries : list of Library
        Of linear algebra and threads, with their numbers of threads.
    cards : list of str
        NVIDIA's.
    extras : list of Extra or None
        Requirements, then extras; None where the package is not installed itself.
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
        """What keeps an update with default settings from compiling, with the remedy."""
        found = [
            f"missing: {', '.join(extra.missing)}: {extra.remedy}."
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
        """What could be better."""
        given = [NOT_INSTALLED] if self.extras is None else []
        on = [device for check in self.backends for device in check.devices]
        if self.cards and all(device.startswith("cpu") for device in on):
            given.append(
                "there is a graphics card, but nothing computes on it: "
                'pip install "kfgn_graph[cuda]".'
            )
        return given

    def as_dict(self) -> dict[str, Any]:
        """Return everything, for JSON."""
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
    """Look at this machine; every backend compiles something, which takes seconds."""
    backends = [check_backend(name) for name in BACKENDS]
    return Diagnosis(
        machine_record(),
        backends,
        resolve_backend("auto"),
        compiler(),
        str(pytensor.config.blas__ldflags),
        libraries(),
        graphics_cards(),
        extras(),
    )
