from experiments.fuzzing.files import fuzz


def test_damaged_files_end_in_a_sentence_and_nothing_is_written(tmp_path):
    outcomes = fuzz(count=400, seed=2, output=tmp_path)
    assert not any(outcome.startswith("FAULT") for outcome in outcomes)
    assert not any(tmp_path.iterdir())
    assert outcomes["resume: exit 4"] > 30
    assert outcomes["resume: exit 0"] > 0
