import json

import numpy as np
import pytest

from kfgn_graph.errors import CheckpointError
from kfgn_graph.program.order import DataOrder

ARRAYS = (np.arange(23), np.arange(23) * 10)


def test_an_epoch_has_each_example_at_most_once_and_rows_stay_together():
    order = DataOrder(ARRAYS, 5, 0)
    batches = [order.next() for _ in range(order.batches)]
    seen = np.concatenate([x for x, _ in batches])
    assert order.batches == 4
    assert len(set(seen.tolist())) == 20
    for x, y in batches:
        np.testing.assert_array_equal(y, 10 * x)


def test_epochs_and_seeds_differ_and_a_seed_repeats():
    orders = [DataOrder(ARRAYS, 23, seed) for seed in (0, 0, 1)]
    first, again, other = (order.next()[0].tolist() for order in orders)
    assert first == again != other
    assert orders[0].next()[0].tolist() != first


@pytest.mark.parametrize("taken", [0, 1, 3, 4, 5, 9, 11, 23, 24])
def test_it_goes_on_anywhere(taken):
    order, other = DataOrder(ARRAYS, 5, 0), DataOrder(ARRAYS, 5, 7)
    for _ in range(taken):
        order.next()
    other.load_state(json.loads(json.dumps(order.state())))
    for _ in range(9):
        np.testing.assert_array_equal(order.next()[0], other.next()[0])


@pytest.mark.parametrize("state", [{}, {"generator": 1, "epoch": 0, "position": 0}])
def test_another_s_state_is_refused(state):
    with pytest.raises(CheckpointError, match="data's order"):
        DataOrder(ARRAYS, 5, 0).load_state(state)


@pytest.mark.parametrize("batch", [5, 8, 12, 22, 23])
def test_all_batches_have_one_size_and_every_epoch_uses_each_example_once(batch):
    order, count = DataOrder(ARRAYS, batch, 0), 23
    seen = np.concatenate([order.next()[0] for _ in range(count)])  # `batch` epochs
    assert len(seen) == count * batch
    for epoch in seen.reshape(batch, count):
        assert sorted(epoch.tolist()) == list(range(count))
    assert order.updates_per_epoch == count / batch
