import numpy as np
import pytest

from kfgn_graph.program.building import build, compile_step
from kfgn_graph.program.evaluation import SHOWN, Evaluator, write_snapshot
from tests.program.small import EXAMPLES, KFRA, small_spec, write_data


@pytest.fixture
def task(tmp_path):
    write_data(tmp_path)
    return build(small_spec(method=KFRA), tmp_path)


def test_a_classifier_is_evaluated_on_all_examples(task):
    found = Evaluator(task)(compile_step(task))
    x, y = task.arrays
    w1, b1, w2, b2 = (p.get_value() for p in task.parameters)
    logits = np.tanh(x @ w1 + b1) @ w2 + b2
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(y)), y]
    assert found.loss == pytest.approx(losses.mean(), rel=1e-5)
    assert found.accuracy == (logits.argmax(axis=1) == y).mean()
    assert found.confusion.sum() == EXAMPLES
    assert found.confusion.sum(axis=1).tolist() == np.bincount(y).tolist()
    assert found.averaged_loss is None


def test_a_snapshot_holds_spectra_predictions_and_confusion(task, tmp_path):
    step = compile_step(task)
    step(*(array[:10] for array in task.arrays))
    path = tmp_path / "a.npz"
    write_snapshot(path, task, step, Evaluator(task)(step))
    with np.load(path, allow_pickle=False) as found:
        assert found["predictions"].shape == (SHOWN, 3)
        assert found["examples"].shape == (SHOWN, 4)
        assert found["confusion"].shape == (3, 3)
        spectrum = found["spectrum/W1/Q"]
        factor = step.state()["factors/W1/Q"]
    np.testing.assert_allclose(spectrum.sum(), np.trace(factor), rtol=1e-5)
    assert (np.diff(spectrum) <= 0).all()


def test_averaged_iterates_are_evaluated_and_the_parameters_stay(tmp_path):
    write_data(tmp_path)
    spec = small_spec(method='"kfra"\nschedule = { average_iterates = true }')
    task = build(spec, tmp_path)
    step = compile_step(task)
    for _ in range(3):
        step(*(array[:10] for array in task.arrays))
    before = [p.get_value() for p in task.parameters]
    found = Evaluator(task)(step)
    assert found.averaged_loss is not None
    assert found.averaged_loss != found.loss
    for kept, parameter in zip(before, task.parameters, strict=True):
        np.testing.assert_array_equal(kept, parameter.get_value())
