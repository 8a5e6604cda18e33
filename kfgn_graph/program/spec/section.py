"""The base class of a spec's tables."""

from pydantic import BaseModel, ConfigDict


class Misfit(ValueError):
    """A value that is inconsistent with the other values of a spec.

    Parameters
    ----------
    key : str
        Dotted key of the value, relative to the model that raises the error.
    reason : str
        The fault and its remedy.
    """

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(reason)
        self.key = key


class Section(BaseModel):
    """A table of a spec. It is immutable and rejects unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    def without_effect(self, reason: str, *names: str, table: str = "") -> None:
        """Raise :class:`Misfit` if a field without effect differs from its default.

        Parameters
        ----------
        reason : str
            The setting that makes the fields ineffective, in words.
        *names : str
            The fields.
        table : str
            Prefix of the fields' keys in the error.
        """
        for name in names:
            if getattr(self, name) != type(self).model_fields[name].default:
                raise Misfit(table + name, f"has no effect {reason}; leave it out")
