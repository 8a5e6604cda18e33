"""Freed memory that stays, counted by the system's page faults."""

import os
import subprocess
import sys

import pytest

from kfgn_graph.program.allocation import DECIDED, keep_freed_memory

FAULTS = """
import resource
import numpy as np
from kfgn_graph.program.allocation import keep_freed_memory

def faults_of_an_array():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.empty(2**26, np.uint8)[:] = 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

kept = keep_freed_memory()
faults_of_an_array()
print(kept, faults_of_an_array())
"""


def faults(**environment: str) -> tuple[str, int]:
    """Return whether memory is kept, and the page faults of an array where one was before."""
    unset = {name: value for name, value in os.environ.items() if name not in DECIDED}
    result = subprocess.run(
        [sys.executable, "-c", FAULTS],
        env=unset | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    kept, count = result.stdout.split()
    return kept, int(count)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's, on Linux")
def test_an_array_takes_the_pages_of_the_one_before() -> None:
    assert faults() == ("True", pytest.approx(0, abs=50))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's, on Linux")
def test_a_user_who_has_decided_is_heard() -> None:
    kept, count = faults(MALLOC_MMAP_THRESHOLD_="1048576")
    assert kept == "False"
    assert count > 100  # of pages, which may be great ones


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
