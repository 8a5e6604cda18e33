import signal
import sys

import numpy as np
import pytest

from experiments.faults.interruptions import interrupted
from experiments.faults.kills import kill_and_compare


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_as_one_that_was_not(tmp_path):
    found = kill_and_compare(tmp_path, kills=3, updates=300, seed=5)
    assert found["kills"] == 3
    assert found["checkpoints"] > 0
    assert found["unreadable"] == 0
    assert found["different"] == []


@pytest.mark.slow
@pytest.mark.parametrize("many", [False, True])
def test_interruptions_are_counted_by_what_they_leave(many):
    previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        counts = interrupted("jax", many, interruptions=10, seed=3)
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert counts["before"] + counts["after"] == counts["interrupted"] == 10


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read as Linux tells it")
def test_memory_does_not_grow():
    from experiments.faults.memory import FLAT, grown

    found = grown(updates=5000, warm_up=2000)  # the first evaluations and checkpoints come before
    assert np.isfinite(found["slope"])
    assert found["slope"] < 4 * FLAT  # over few updates the allocator's steps weigh more
