"""The installed and missing requirements of the package and of its extras."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata

from packaging.requirements import Requirement

PACKAGE = "kfgn_graph"
FOR_DEVELOPERS = ("tests", "docs", "dev")
"""Extras for developers, which are not checked."""


@dataclass(frozen=True)
class Extra:
    """An optional group of requirements.

    Attributes
    ----------
    name : str
        The name, as in ``pip install "kfgn_graph[name]"``; empty for the requirements of the
        package itself.
    missing : tuple of str
        The requirements that are not installed or have an unsuitable version.
    """

    name: str
    missing: tuple[str, ...]

    @property
    def remedy(self) -> str | None:
        """The command that installs the missing requirements, or None if there are none."""
        if not self.missing:
            return None
        return f'pip install "{PACKAGE}[{self.name}]"' if self.name else f"pip install {PACKAGE}"


def extras() -> list[Extra] | None:
    """Return the requirements of the package, then its extras, or None if it is not installed.

    A checkout that is only on the path has no list of requirements.
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
    """Return the missing requirements of an extra that are not requirements of the package."""
    own = [
        requirement
        for requirement in wanted
        if _applies(requirement, extra) and (not extra or not _applies(requirement, ""))
    ]
    return tuple(told for requirement in own if (told := _complaint(requirement)) is not None)


def _applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _complaint(requirement: Requirement) -> str | None:
    """Return the problem with a requirement and its extras, or None if there is no problem."""
    try:
        found = metadata.distribution(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{requirement.name}{requirement.specifier}"
    if not requirement.specifier.contains(found.version, prereleases=True):
        return f"{requirement.name}{requirement.specifier} (found {found.version})"
    needed = [Requirement(line) for line in found.requires or ()]
    missing = [told for extra in requirement.extras for told in _missing(needed, extra)]
    return ", ".join(missing) or None
