import pytest

from experiments.fuzzing.graphs import fuzz


@pytest.mark.thorough
def test_random_graphs_are_equal_to_brute_force_or_refused(tmp_path):
    outcomes = fuzz(range(16), seed=8, output=tmp_path, train_every=0)
    assert not any(outcome.startswith("FAULT") for outcome in outcomes)
    assert not any(tmp_path.iterdir())
    assert outcomes["accepted"] > 4
    assert sum(outcomes.values()) == 16
