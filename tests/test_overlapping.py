"""Contexts that several threads are in at once."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import pytensor

from kfgn_graph.backends.c.blas_flags import blas_configured
from kfgn_graph.overlapping import Overlapping


def overlapped(context, read) -> tuple[object, object]:
    """Return what is read within the second use once the first has ended, and after both."""
    first_in, second_in, first_out = threading.Event(), threading.Event(), threading.Event()
    found = []

    def one() -> None:
        with context():
            first_in.set()
            second_in.wait(10)
        first_out.set()

    def two() -> None:
        first_in.wait(10)
        with context():
            second_in.set()
            first_out.wait(10)
            found.append(read())

    threads = [threading.Thread(target=target) for target in (one, two)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found[0], read()


def test_a_setting_lasts_until_the_last_user_leaves():
    setting = ["own"]

    @contextmanager
    def changed():
        old, setting[0] = setting[0], "changed"
        try:
            yield
        finally:
            setting[0] = old

    assert overlapped(Overlapping(changed), lambda: setting[0]) == ("changed", "own")
    assert setting == ["own"]


def test_two_threads_that_compile_c_have_a_blas_and_leave_the_configuration():
    before = pytensor.config.blas__ldflags
    within, after = overlapped(blas_configured, lambda: pytensor.config.blas__ldflags)
    assert within
    assert after == before
