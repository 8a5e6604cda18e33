import json
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kfgn_graph.errors import SpecError
from kfgn_graph.program.spec import (
    GraphSpec,
    load_spec,
    parse_spec,
    preset,
    presets,
    read_spec,
    to_toml,
)
from tests.program.spec.strategies import contents, specs, values

GOOD = """
loss = "softmax"

[network]
hidden = [
    8,
    4,
]

[data]
name = "digits"

[budget]
updates = 3
"""


def complaint(text: str, kind: str = "toml") -> str:
    with pytest.raises(SpecError) as caught:
        parse_spec(text, kind, "a.toml")
    return str(caught.value)


def test_what_is_left_out_is_the_default() -> None:
    spec = parse_spec(GOOD, "toml")
    assert spec.network is not None and spec.network.hidden == [8, 4]
    assert (spec.batch, spec.method.name, spec.schedule.refresh_every) == (1000, "kfra", 10)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'loss = "softmax"',
            'los = "softmax"',
            'a.toml, line 2, los: no such key; did you mean "loss"? Keys here: name, ',
        ),
        (
            'loss = "softmax"',
            'loss = "sofmax"',
            'a.toml, line 2, loss: found "sofmax"; allowed: bernoulli, squared, softmax; '
            'did you mean "softmax"?',
        ),
        (
            "    4,",
            "    -4,",
            "a.toml, line 7, network.hidden.1: found -4, but it should be greater than or equal "
            "to 1.",
        ),
        (
            'name = "digits"',
            'name = "digits"\nexamples = "all"',
            'a.toml, line 12, data.examples: found "all", but it should be a valid integer.',
        ),
        (
            'name = "digits"',
            'name = "digits"\nbatch = 10',
            "a.toml, line 12, data.batch: no such key; `batch` is a key of the spec itself: in "
            "TOML, put it above the first table. Keys here: name, ",
        ),
        (
            'loss = "softmax"',
            'loss = "softmax"\ngraph = "my.net"',
            'a.toml, line 3, graph: found "my.net"; write it as package.module:function.',
        ),
        ("updates = 3", "", "a.toml, line 13, budget: give updates, epochs or seconds."),
        (
            'name = "digits"',
            'name = "uci"\ntable = "yach"',
            'a.toml, line 12, data.table: found "yach"; allowed: concrete, ',
        ),
        ('name = "digits"', 'name = "uci"', "a.toml, line 10, data.table: belongs to "),
        (
            "[network]",
            "[network]\nlinear = [2]",
            "a.toml, line 5, network.linear: no hidden layer 2; there are 2, from 0.",
        ),
        (
            'loss = "softmax"',
            'loss = "softmax"\nmethod = "adam"\nschedule.refresh_every = 5',
            "a.toml, line 4, schedule: has no effect on adam, ",
        ),
        (
            'loss = "softmax"',
            'loss = "softmax"\nmethod = { name = "kfra", rate = 0.1 }',
            "a.toml, line 3, method.rate: has no effect on kfra (see step.length); leave it out.",
        ),
        ("[budget]", "[budget", "a.toml, line 13, column 8: expected ']' at the end of a table "),
        (
            "updates = 3",
            "updates = 3\nupdates = 4",
            "a.toml, line 15, column 12: cannot overwrite",
        ),
    ],
)
def test_an_error_says_where_what_and_what_is_allowed(old: str, new: str, message: str) -> None:
    assert complaint(GOOD.replace(old, new)).startswith(message)


@pytest.mark.parametrize("digits", ["1" + "0" * 15 + "1", "0x" + "f" * 4000])
@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("    8,", "    {},", "line 6, network.hidden.0"),
        ("[network]", "[network]\nlinear = [{}]", "line 5, network.linear.0"),
        ("updates = 3", "updates = {}", "line 14, budget.updates"),
    ],
)
def test_no_count_is_too_long_to_be_written(old: str, new: str, place: str, digits: str) -> None:
    told = complaint(GOOD.replace(old, new.format(digits)))
    assert told.startswith(f"a.toml, {place}: found ")
    assert told.endswith("but it should be less than or equal to 1000000000000000.")


def test_a_number_of_thousands_of_digits_is_no_word() -> None:
    huge = f"loss = 0x{'f' * 4000}"
    found = complaint(GOOD.replace('loss = "softmax"', huge))
    assert found.startswith("a.toml, line 2, loss: found ")
    assert found.endswith("allowed: bernoulli, squared, softmax.")


def test_the_largest_count_reads_back() -> None:
    spec = parse_spec(GOOD.replace("updates = 3", f"updates = {10**15}"), "toml")
    assert spec.budget.updates == 10**15
    assert parse_spec(to_toml(spec), "toml") == spec


def test_all_that_is_wrong_is_told_at_once() -> None:
    lines = complaint(GOOD.replace("softmax", "x").replace("digits", "y")).splitlines()
    assert [line.partition(": ")[0] for line in lines] == [
        "a.toml, line 2, loss",
        "a.toml, line 11, data.name",
    ]


def test_what_a_key_is_missing_from_has_a_line() -> None:
    text = GOOD.replace("hidden = [\n    8,\n    4,\n]", "bias = false")
    assert complaint(text) == "a.toml, line 4, network.hidden: is required but missing."


def test_a_weight_of_two_layers_has_no_curvature() -> None:
    tied = GOOD.replace("    4,\n", "    4,\n    8,\n").replace("[data]", "tied = true\n\n[data]")
    assert "line 11, network.tied: second-order methods" in complaint(tied)
    network = parse_spec('method = "adam"' + tied, "toml").network
    assert network is not None and network.tied


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{\n "loss": "x"\n}', "a.toml, line 2, loss: found"),
        ('{\n "a": 1,\n "a": 2}', 'a.toml: the key "a" is given 2 times.'),
        ("{\n", "a.toml, line 2, column 1: expecting property name"),
        ("[1]", "a.toml: found [1]; a spec must be an object, {...}."),
        ('{"l2": NaN}', "a.toml: found NaN, which is not a JSON number."),
        ("[" * 10**5, "a.toml: nested too deeply."),
        ('{"batch": 1' + "0" * 5000 + "}", "a.toml: exceeds the limit"),
    ],
)
def test_json_has_the_same_errors(text: str, message: str) -> None:
    assert complaint(text, "json").startswith(message)


def test_control_characters_do_not_reach_the_terminal() -> None:
    told = complaint(GOOD.replace('"softmax"', r'"\u001b[31m\u009b"'))
    assert told.replace("\n", "").isprintable()


def test_a_file_is_read_by_its_ending(tmp_path: Path) -> None:
    spec = parse_spec(GOOD, "toml")
    (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    (tmp_path / "b.json").write_text(spec.model_dump_json(exclude_defaults=True), "utf-8")
    assert read_spec(tmp_path / "a.toml") == read_spec(tmp_path / "b.json") == spec
    assert load_spec(tmp_path / "a.toml") == (spec, tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.yaml", b"", "the name of a spec must end in .toml or .json"),
        ("a.toml", b"\n\xff = 1", "a.toml, line 2: not UTF-8"),
        ("a.toml", b"#" * 1_000_001, "at most 1,000,000 bytes"),
        ("a.toml", None, "cannot be read (No such file or directory)"),
    ],
)
def test_a_file_that_is_no_spec(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SpecError, match=message.replace("(", r"\(").replace(")", r"\)")):
        read_spec(tmp_path / name)


def test_a_folder_is_no_spec(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="must end in"):
        load_spec(tmp_path)


def test_presets_are_specs_with_a_description() -> None:
    assert set(presets()) >= {"mnist-autoencoder", "digits", "concrete"}
    for name, description in presets().items():
        assert preset(name).name == name and len(description) > 20
        assert load_spec(name) == (preset(name), Path.cwd())


def test_a_name_that_is_nearly_a_preset_s() -> None:
    with pytest.raises(SpecError, match=r'nor a preset; did you mean "digits"\?'):
        load_spec("digit")
    with pytest.raises(SpecError, match=r'no preset "digit"; did you mean "digits"\?'):
        preset("digit")


@given(
    st.text() | st.binary().map(lambda b: b.decode("latin-1")), st.sampled_from(["toml", "json"])
)
@example("a = 1979-05-27 07:32:00", "toml")
@example('"\\ud800" = 1', "toml")
@example('{"\\ud800": "\\ud800"}', "json")
def test_any_text_is_a_spec_or_a_spec_error(text: str, kind: str) -> None:
    try:
        parse_spec(text, kind)
    except SpecError as error:
        assert str(error).startswith("the spec")


@given(contents, st.data())
def test_any_value_anywhere_is_a_spec_or_a_spec_error(
    content: dict[str, object], source: st.DataObject
) -> None:
    table = content
    key = source.draw(st.sampled_from(sorted(content)))
    inner = content[key]
    if isinstance(inner, dict) and inner and source.draw(st.booleans()):
        table, key = inner, source.draw(st.sampled_from(sorted(inner)))
    table[key] = source.draw(values)
    try:
        parse_spec(json.dumps(content), "json")
    except SpecError as error:
        assert all(line.startswith("the spec") for line in str(error).splitlines())


@given(specs)
def test_json_reads_back(spec: GraphSpec) -> None:
    for dumped in (spec.model_dump_json(), spec.model_dump_json(exclude_defaults=True)):
        assert parse_spec(dumped, "json") == spec


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("updates = 3", "epochs = 1e308", "budget.epochs: found 1e+308, but it should be less"),
        ('loss = "softmax"', 'loss = "softmax"\nl2 = 1e300', "l2: found 1e+300, but it should be"),
        ("updates = 3", "updates = 3\n[schedule]\nrefresh_every = 2147483648", "2147483647"),
        ("updates = 3", "updates = 3\n[schedule]\nfactors_every = 2147483648", "2147483647"),
        ("updates = 3", "updates = 3\n[damping]\nevery = 2147483648", "2147483647"),
        ("updates = 3", "updates = 3\n[method]\nname = 'kfac'\nsamples = 1000000000", "1000000."),
        ("    8,", "    8," * 300, "network.hidden: found"),
    ],
)
def test_limits_are_told(old: str, new: str, message: str) -> None:
    assert message in complaint(GOOD.replace(old, new))


@pytest.mark.parametrize("key", ["a" + ".a" * 300_000, '"a"' + ' . "a"' * 100_000])
@pytest.mark.parametrize("form", ["{} = 1", "[{}]", "[[{}]]", "x = {{ {} = 1 }}"])
def test_keys_of_many_parts_are_refused_at_once(key: str, form: str) -> None:
    began = time.perf_counter()
    assert complaint(form.format(key)).startswith("a.toml: nested too deeply: a key has 50 parts")
    assert time.perf_counter() - began < 5


def test_at_most_twenty_errors_are_listed() -> None:
    lines = complaint(GOOD + "".join(f"[k{number}]\n" for number in range(5000))).splitlines()
    assert len(lines) == 21
    assert lines[-1] == "a.toml: 4,980 further errors."
