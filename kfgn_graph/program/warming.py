"""Compilation before the first update of a session, so that no update's time includes it."""

from __future__ import annotations

from time import perf_counter

from kfgn_graph.program.batches import told_of_data
from kfgn_graph.program.session import Session
from kfgn_graph.program.watching import Watcher


def compile_first(session: Session, watch: Watcher) -> None:
    """Compile a session's step on its next batch; parameters, state and order are unchanged.

    Nothing is compiled if the budget allows no update.

    Parameters
    ----------
    session : Session
        The session, whose ``seconds`` do not count the compilation.
    watch : Watcher
        Receiver of its begin and its duration.

    Raises
    ------
    SpecError
        The batch does not fit the graph.
    """
    if session.ended() is not None:
        return
    watch.compiling(None)
    began = perf_counter()
    position = session.order.state()
    batch = session.order.next()
    session.order.load_state(position)
    with told_of_data():
        session.step.compile(*batch)
    watch.compiling(perf_counter() - began)
