import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from typer.testing import CliRunner

from kfgn_graph import CheckpointError
from kfgn_graph.program.cli.app import app
from kfgn_graph.program.report import render
from kfgn_graph.program.report.gathering import MOST_RANKS, MOST_UPDATES, gather
from kfgn_graph.program.report.page import script_json
from kfgn_graph.program.runs import read_run
from tests.program.report.browser import asked, visit
from tests.program.report.folders import make_run

NASTY = "</script><script>document.title='stolen'</script><img src=x onerror=alert(1)>"
AUTOENCODER = {
    "name": "sample",
    "loss": "squared",
    "data": {"name": "curves"},
    "network": {"hidden": [8]},
}


class Parts(HTMLParser):
    """Collects tags, addresses and the data of the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href")]


def page_of(*paths):
    return render([read_run(path) for path in paths], [path.name for path in paths])


def data_of(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])


@pytest.fixture
def written(tmp_path):
    """A report of two runs, in a file."""
    paths = [make_run(tmp_path / name, scale=k) for k, name in enumerate(("a-1", "a-2"), start=1)]
    output = tmp_path / "report.html"
    result = CliRunner().invoke(app, ["report", *map(str, paths), "-o", str(output)])
    assert result.exit_code == 0, result.output
    return output


def test_the_page_needs_nothing_else(written):
    parts = Parts(written.read_text("utf-8"))
    assert {"link", "iframe", "object", "base"}.isdisjoint(parts.tags)
    assert all(address.startswith(("data:", "#")) for address in parts.addresses)
    assert "default-src 'none'" in written.read_text("utf-8")


@pytest.mark.parametrize("folder", ["/home/me/data/", "C:\\data\\", ""])
def test_the_title_names_the_data_without_their_folder(folder, tmp_path):
    header = {"data": f"{folder}mnist, train split (hash checked)"}
    page = page_of(make_run(tmp_path / "a-1", header=header))
    assert ">mnist, train split (hash checked). Begun 2026-11-24.<" in page


def test_the_charts_have_every_number_of_the_metrics(tmp_path):
    (found,) = data_of(page_of(make_run(tmp_path / "a-1")))["runs"]
    assert found["updates"]["update"] == list(range(1, 42))
    assert found["updates"]["loss"][:4] == [1.0, 0.5, None, 0.25]
    assert found["updates"]["damping"][9] == 0.01
    assert found["evaluations"]["loss"] == [1.0, 0.05, 0.025]
    assert "averaged_loss" not in found["evaluations"]
    assert (found["stride"], found["unit"]) == (1, "nats")


def test_the_reduction_ratio_is_shown_as_it_was_last_measured(tmp_path):
    path = make_run(tmp_path / "a-1", updates=12)
    shown = gather(read_run(path), "a").charts["updates"]["reduction_ratio"]
    assert shown == [None] * 4 + [0.05] * 5 + [0.1] * 3


def test_spectra_are_by_layer_factor_and_update(tmp_path):
    (found,) = data_of(page_of(make_run(tmp_path / "a-1")))["runs"]
    assert [one["update"] for one in found["spectra"]] == [20, 40]
    names = [(one["layer"], one["factor"]) for one in found["spectra"][0]["factors"]]
    assert names == [("W1", "Q"), ("W1", "G")]
    inputs = found["spectra"][0]["factors"][0]
    assert inputs["ranks"] == list(range(1, 66))
    assert (inputs["values"][0], inputs["values"][-1]) == (2.0, 0.0)


def test_long_runs_and_large_factors_are_thinned(tmp_path):
    path = make_run(tmp_path / "a-1", updates=2 * MOST_UPDATES + 5, snapshots=False)
    (path / "snapshots").mkdir()
    spectrum = np.linspace(2.0, 1.0, 785)
    np.savez(path / "snapshots" / "update-00000020.npz", **{"spectrum/W1/Q": spectrum})
    found = gather(read_run(path), "a").charts
    assert len(found["updates"]["update"]) <= MOST_UPDATES
    assert found["updates"]["update"][-1] == 2 * MOST_UPDATES + 5
    assert found["stride"] == 3
    ranks = found["spectra"][0]["factors"][0]["ranks"]
    assert (ranks[0], ranks[-1]) == (1, 785)
    assert len(ranks) <= MOST_RANKS


def test_a_confusion_matrix_is_a_table(tmp_path):
    page = page_of(make_run(tmp_path / "a-1"))
    assert page.count('<td class="l3">10</td>') == 10
    assert "Confusion matrix after update 40" in page


def test_an_autoencoder_shows_its_examples_beside_their_reconstructions(tmp_path):
    path = make_run(tmp_path / "a-1", spec=AUTOENCODER, snapshots=False)
    (path / "snapshots").mkdir()
    images = np.random.default_rng(0).random((10, 64), np.float32)
    np.savez(path / "snapshots" / "update-00000020.npz", examples=images, predictions=images)
    parts = Parts(page_of(path))
    pictures = [value for value in parts.addresses if value.startswith("data:image/png")]
    assert len(pictures) == 20
    assert pictures[:10] == pictures[10:]
    assert len(set(pictures)) == 10


def test_the_spec_and_its_command_are_told(tmp_path):
    page = page_of(make_run(tmp_path / "a-1", spec={"batch": 128}))
    assert "batch = 128" in page
    assert "kfgn train sample.toml" in page
    assert "a &lt;b&gt;processor&lt;/b&gt;" in page


def test_names_and_values_cannot_become_markup(tmp_path):
    path = make_run(tmp_path / "run-1", header={"data": NASTY, "created": NASTY})
    page = render([read_run(path)], [NASTY])
    assert Parts(page).tags.count("script") == 2
    assert "<img" not in page.split("</style>")[1]
    assert data_of(page)["runs"][0]["label"] == NASTY


def test_json_cannot_end_its_script():
    text = script_json({"</script>": "<!-- & \u2028"})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"</script>": "<!-- & \u2028"}


def test_a_run_that_was_just_begun_has_a_page(tmp_path):
    path = make_run(tmp_path / "a-1", snapshots=False)
    (path / "metrics.jsonl").unlink()
    (found,) = data_of(page_of(path))["runs"]
    assert (found["updates"], found["evaluations"], found["spectra"]) == ({}, {}, [])


def test_a_snapshot_that_is_damaged_is_named(tmp_path):
    path = make_run(tmp_path / "a-1")
    damaged = path / "snapshots" / "update-00000040.npz"
    damaged.write_bytes(damaged.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"update-00000040.npz: .*Remove it"):
        page_of(path)


def test_the_command_tells_what_it_wrote(tmp_path):
    path, output = make_run(tmp_path / "a-1"), tmp_path / "a.html"
    result = CliRunner().invoke(app, ["report", str(path), "-o", str(output), "--json"])
    assert json.loads(result.stdout) == {
        "page": str(output),
        "runs": 1,
        "bytes": output.stat().st_size,
    }


def test_a_browser_draws_all_charts_and_complains_of_nothing(written):
    found, said = visit(written, "--dump-dom")
    assert said == ""
    assert found.count("<figure") == 2 + 1 + 7 + 2
    assert found.count('class="line') > 40
    drawn = found.split("</style>")[1].split('id="data"')[0]
    assert "no values" not in drawn
    assert "NaN" not in drawn


def test_a_nasty_name_does_nothing_in_a_browser(tmp_path):
    output = tmp_path / "report.html"
    path = make_run(tmp_path / "run-1")
    output.write_text(render([read_run(path)], [NASTY]), "utf-8")
    found, said = visit(output, "--dump-dom")
    assert said == ""
    assert "<title>stolen" not in found
    assert "onerror" in found


def test_the_arrow_keys_read_a_chart_and_escape_leaves_it(written):
    answer = asked(
        written,
        """
        const figure = document.querySelector("#losses figure");
        const press = (key) => figure.dispatchEvent(new KeyboardEvent("keydown", { key }));
        const reading = figure.querySelector(".reading");
        press("End");
        const end = reading.textContent;
        press("Escape");
        return JSON.stringify([figure.tabIndex, end, reading.hidden]);
        """,
    )
    tab, end, hidden = json.loads(answer)
    assert (tab, hidden) == (0, True)
    assert "a-1, training set: 0.025" in end
    assert "a-2, training set: 0.05" in end


def test_the_controls_smooth_hide_runs_and_change_the_axis(written):
    answer = asked(
        written,
        """
        const lines = () => [...document.querySelectorAll("#measures path.line")];
        const before = lines().map((line) => line.getAttribute("d")).join();
        const slider = document.getElementById("smoothing");
        slider.value = 100;
        slider.dispatchEvent(new Event("input"));
        const smooth = lines().map((line) => line.getAttribute("d")).join();
        document.querySelector("input[value=seconds]").click();
        const axis = document.querySelector("#measures").textContent.includes("seconds");
        const count = lines().length;
        document.querySelector("#legend button").click();
        const halved = lines().length * 2 === count;
        const span = document.getElementById("span").textContent;
        return JSON.stringify([before !== smooth, axis, halved, span]);
        """,
    )
    assert json.loads(answer) == [True, True, True, "10 updates"]


def test_the_page_is_no_wider_than_a_phone(written):
    width = asked(
        written,
        """
        const frame = document.createElement("iframe");
        frame.width = 390;
        const page = document.documentElement.outerHTML;
        frame.srcdoc = page.replace(/<script type="module">[^]*/, "");
        document.body.append(frame);
        await new Promise((resolve) => (frame.onload = resolve));
        return frame.contentDocument.documentElement.scrollWidth;
        """,
    )
    assert 300 < int(width) <= 390


def test_a_screenshot_and_a_print_are_made(written, tmp_path):
    picture, printed = tmp_path / "a.png", tmp_path / "a.pdf"
    visit(written, f"--screenshot={picture}", "--window-size=1280,1600")
    visit(written, f"--print-to-pdf={printed}")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert printed.read_bytes().startswith(b"%PDF")
