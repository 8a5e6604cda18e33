"""Make the outputs and pictures of the program that the pages show, in ``docs/outputs``.

``python docs/outputs.py`` makes all of them and ``python docs/outputs.py digits`` those of one
session. Some read MNIST, and the picture of a report needs Chromium. The tests run sessions again
and compare: what is not measured has to be equal.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from terminal import ROOT, picture, piped, shown

DOCS = Path(__file__).parent
FOLDER = DOCS / "outputs"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
Outputs = Iterator[tuple[str, str | bytes]]

MISTAKES = """\
name = "mine"
loss = "sofmax"
batch = 100

[network]
hidden = [32]
activaton = "tanh"

[data]
name = "digits"

[budget]
updates = 200
"""


def example(folder: Path) -> Outputs:
    """The program of the landing page."""
    yield "example.txt", piped(f"python {DOCS / 'example.py'}", folder)


def presets(folder: Path) -> Outputs:
    """A spec with two mistakes."""
    (folder / "mine.toml").write_text(MISTAKES)
    command = "kfgn train mine.toml"
    yield "mistakes.txt", f"$ {command}\n{piped(command, folder, code=2)}"


def errors(folder: Path) -> Outputs:
    """The messages of three errors."""
    made = piped(f"python {DOCS / 'how-to' / 'read_an_error.py'}", folder)
    names = ("unmatched.txt", "mixed.txt", "structure.txt")
    messages = made.replace(f"{DOCS / 'how-to'}/", "").strip().split("\n\n")
    yield from zip(names, messages, strict=True)


def own_graph(folder: Path) -> Outputs:
    """Graphs of the user's, explained."""
    made = piped(f"python {DOCS / 'how-to' / 'explain_own_graph.py'}", folder)
    _, *tables = re.split(r"^(?=kflr on )", made, flags=re.MULTILINE)
    names = ("residual.txt", "pytensor-ml.txt")
    yield from zip(names, (table.partition("\n\n part of")[0] for table in tables), strict=True)


def convolution(folder: Path) -> Outputs:
    """A convolutional net on the digits."""
    script = DOCS / "how-to" / "train_a_convolutional_net.py"
    yield "convolution.txt", piped(f"python {script}", folder)


def transformer(folder: Path) -> Outputs:
    """A transformer on the text of these pages."""
    script = DOCS / "how-to" / "train_a_transformer.py"
    yield "transformer.txt", piped(f"python {script}", folder)


def digits(folder: Path) -> Outputs:
    """Three runs on the digits, compared, and a checkpoint that is damaged."""
    yield "train.txt", piped("kfgn train digits", folder)
    spec = piped("kfgn presets digits", folder)
    for method in ("kfac", "adam"):
        other = re.sub(r"^method = .*\n", "", spec, flags=re.MULTILINE)
        (folder / f"{method}.toml").write_text(f'method = "{method}"\n{other}')
        piped(f"kfgn train {method}.toml", folder)
    yield "compare.txt", piped("kfgn compare runs/digits-1 runs/digits-2 runs/digits-3", folder)
    newest = max((folder / "runs/digits-1/checkpoints").iterdir())
    newest.write_bytes(newest.read_bytes()[:-100])
    yield "damaged.txt", piped("kfgn resume runs/digits-1", folder, code=4)


def explain(folder: Path) -> Outputs:
    """The update of the paper's autoencoder, explained and measured."""
    screen = shown("kfgn explain mnist-autoencoder --measure", folder)
    yield "explain.svg", picture([screen], "explain")
    yield "explain.txt", plain(screen).partition("\n")[2]
    piped("kfgn explain mnist-autoencoder --svg graph.svg", folder)
    yield "graph.svg", (folder / "graph.svg").read_text("utf-8")


def bench(folder: Path) -> Outputs:
    """The time of that update in units."""
    yield "bench.txt", piped("kfgn bench", folder)


def resume(folder: Path) -> Outputs:
    """Training that is stopped and resumed."""
    first = shown("kfgn train mnist-autoencoder --updates 60", folder, stop_at="update 22/60")
    second = shown("kfgn resume runs/mnist-autoencoder-1", folder)
    yield "train.svg", picture([first, second], "train")


def report(folder: Path) -> Outputs:
    """Two methods on the autoencoder, compared and reported."""
    spec = piped("kfgn presets mnist-autoencoder", folder)
    spec = spec.replace("evaluate_every = 50", "evaluate_every = 10")
    for method in ("kfra", "adam"):
        head = f'name = "{method}"\nmethod = "{method}"'
        (folder / f"{method}.toml").write_text(spec.replace('name = "mnist-autoencoder"', head))
        piped(f"kfgn train {method}.toml --updates 100", folder)
    yield "compare-mnist.txt", piped("kfgn compare runs/kfra-1 runs/adam-1", folder)
    piped("kfgn report runs/kfra-1 runs/adam-1", folder)
    yield "report.png", photograph(folder / "report.html", folder / "report.png")


SESSIONS: dict[str, Callable[[Path], Outputs]] = {
    "example": example,
    "presets": presets,
    "errors": errors,
    "own-graph": own_graph,
    "convolution": convolution,
    "transformer": transformer,
    "digits": digits,
    "explain": explain,
    "bench": bench,
    "resume": resume,
    "report": report,
}


def plain(text: str) -> str:
    """Return text without colours and without spaces at the ends of lines."""
    text = re.sub(r"\x1b\[[\d;]*m", "", text)
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def photograph(page: Path, to: Path) -> bytes:
    """Return a PNG of the top of a page."""
    browser = next(filter(None, map(shutil.which, BROWSERS)))
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    flags += ["--virtual-time-budget=3000", f"--screenshot={to}", "--window-size=1100,1430"]
    subprocess.run([browser, *flags, page.as_uri()], check=True, capture_output=True)
    return to.read_bytes()


def main() -> None:
    """Make the outputs of the sessions that are named, or of all."""
    FOLDER.mkdir(exist_ok=True)
    for session in sys.argv[1:] or SESSIONS:
        with tempfile.TemporaryDirectory() as folder:
            for name, content in SESSIONS[session](Path(folder)):
                data = content if isinstance(content, bytes) else plain(content).encode()
                (FOLDER / name).write_bytes(data)
                print((FOLDER / name).relative_to(ROOT))


if __name__ == "__main__":
    main()
