"""Which of the package's requirements, and which of its extras, are installed."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata

from packaging.requirements import Requirement

PACKAGE = "kfgn_graph"
FOR_DEVELOPERS = ("tests", "docs", "dev")
"""Extras that no user needs: they are not asked for."""


@dataclass(frozen=True)
class Extra:
    """An optional group of requirements.

    Attributes
    ----------
    name : str
        As in ``pip install "kfgn_graph[name]"``; empty for what the package always needs.
    missing : tuple of str
        What is not installed, or is of another version, with the version that is wanted.
    """

    name: str
    missing: tuple[str, ...]

    @property
    def remedy(self) -> str | None:
        """The command that installs what is missing."""
        if not self.missing:
            return None
        return f'pip install "{PACKAGE}[{self.name}]"' if self.name else f"pip install {PACKAGE}"


def extras() -> list[Extra] | None:
    """Return the package's requirements, then its extras; None where it is not installed itself.

    A checkout that was only put on the path has no list of requirements.
    """
    try:
        package = metadata.distribution(PACKAGE)
    except metadata.PackageNotFoundError:
        return None
    wanted = [Requirement(line) for line in package.requires or ()]
    provided = package.metadata.get_all("Provides-Extra") or []
    names = ["", *(name for name in provided if name not in FOR_DEVELOPERS)]
    return [Extra(name, _missing(wanted, name)) for name in names]


def _missing(wanted: list[Requirement], extra: str) -> tuple[str, ...]:
    """Return what is missing of one extra, what the package always needs left out."""
    own = [
        requirement
        for requirement in wanted
        if _applies(requirement, extra) and (not extra or not _applies(requirement, ""))
    ]
    return tuple(told for requirement in own if (told := _complaint(requirement)) is not None)


def _applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _complaint(requirement: Requirement) -> str | None:
    """Say what is wrong with a requirement here, its own extras included; None if nothing is."""
    try:
        found = metadata.distribution(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{requirement.name}{requirement.specifier}"
    if not requirement.specifier.contains(found.version, prereleases=True):
        return f"{requirement.name}{requirement.specifier} (found {found.version})"
    needed = [Requirement(line) for line in found.requires or ()]
    missing = [told for extra in requirement.extras for told in _missing(needed, extra)]
    return ", ".join(missing) or None
