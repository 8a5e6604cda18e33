from tests.program.spec.fuzzer import fuzz


def test_altered_specs_are_read_or_refused(tmp_path):
    outcomes, _, _ = fuzz(inputs=500, seed=3, output=tmp_path)
    assert outcomes.keys() == {"SpecError", "a spec"}
    assert not any(tmp_path.iterdir())
