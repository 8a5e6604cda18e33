import pytest

pytest.importorskip("jax")

from experiments.benchmarks.kernels import added_up


def named(kind: str, pid: int, name: str, tid: int | None = None) -> dict:
    thread = {} if tid is None else {"tid": tid}
    return {"ph": "M", "name": kind, "pid": pid, "args": {"name": name}} | thread


def ran(pid: int, tid: int, name: str, microseconds: float) -> dict:
    return {"ph": "X", "pid": pid, "tid": tid, "name": name, "ts": 0, "dur": microseconds}


def test_what_streams_of_a_gpu_ran_is_added_up() -> None:
    events = [
        named("process_name", 1, "/device:GPU:0"),
        named("process_name", 2, "/host:CPU"),
        named("thread_name", 1, "Stream #14(Compute)", tid=7),
        named("thread_name", 1, "XLA Modules", tid=8),
        named("thread_name", 2, "Stream of thoughts", tid=7),
        ran(1, 7, "gemm", 30.0),
        ran(1, 7, "gemm", 20.0),
        ran(1, 7, "reduce", 1.5),
        ran(1, 8, "jit_loop", 500.0),
        ran(2, 7, "python", 500.0),
    ]
    found = added_up(events)
    assert found.counts == {"gemm": 2, "reduce": 1}
    assert found.seconds == pytest.approx({"gemm": 50e-6, "reduce": 1.5e-6})
    assert found.count == 3
    assert found.busy == pytest.approx(51.5e-6)
