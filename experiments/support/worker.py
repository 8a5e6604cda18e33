"""A process that examines networks by name and prints a line of JSON for each."""

from __future__ import annotations

import json
import sys
import warnings

from experiments.support.catalogue import catalogue
from experiments.support.checks import examine

#: What a line of results starts with: PyTensor and JAX may print lines of their own.
MARK = "support: "


def main(backend: str, names: list[str]) -> None:
    """Examine networks in turn."""
    networks = catalogue()
    for name in names:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = examine(networks[name], backend)
        print(MARK + json.dumps(result.as_dict()), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
