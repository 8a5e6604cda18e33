import struct

from kfgn_graph.program.tensorboard import FOLDER, EventFile

LINE = {"kind": "update", "update": 3, "seconds": 1.0, "loss": 0.5, "damping": None}


def events(run):
    """Return the events of a run's files, as tensorboardX's own format reads them."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted((run / FOLDER).iterdir()):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack_from("<Q", content)
            found.append(Event.FromString(content[12 : 12 + length]))
            content = content[16 + length :]
    return found


def test_numbers_are_scalars_by_kind_and_update(tmp_path):
    with EventFile(tmp_path, 0) as file:
        file.add(LINE)
        file.add({**LINE, "kind": "evaluation", "loss": float("nan"), "accuracy": 0.25})
    found = {
        value.tag: (event.step, value.simple_value)
        for event in events(tmp_path)
        for value in event.summary.value
    }
    assert found == {"update/loss": (3, 0.5), "evaluation/accuracy": (3, 0.25)}


def test_a_run_that_goes_on_hides_what_came_later(tmp_path):
    with EventFile(tmp_path, 7) as file:
        file.add(LINE)
    assert any(event.session_log.status == 1 and event.step == 8 for event in events(tmp_path))
