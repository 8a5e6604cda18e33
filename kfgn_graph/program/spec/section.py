"""What the tables of a spec have in common."""

from pydantic import BaseModel, ConfigDict


class Misfit(ValueError):
    """A value that does not go with the others.

    Parameters
    ----------
    key : str
        Whose value, with dots, relative to the model that raises.
    reason : str
        What is wrong, and the remedy.
    """

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(reason)
        self.key = key


class Section(BaseModel):
    """A table of a spec: unknown keys are errors, and it does not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    def without_effect(self, reason: str, *names: str, table: str = "") -> None:
        """Raise where one of these fields is not the default, and would do nothing."""
        for name in names:
            if getattr(self, name) != type(self).model_fields[name].default:
                raise Misfit(table + name, f"has no effect {reason}; leave it out")
