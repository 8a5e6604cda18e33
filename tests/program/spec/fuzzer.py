"""Alter the bytes of specs at random and read them: only ``SpecError`` may come out."""

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import kfgn_graph as kfgn
from experiments.records import write_json
from kfgn_graph import SpecError
from kfgn_graph.program.spec import parse_spec, preset, presets, read_spec, to_toml
from kfgn_graph.program.spec.reading import preset_text

TOKENS = [
    *(b'"', b"'", b'"""', b"'''", b"[", b"]", b"[[", b"]]", b"{", b"}", b"=", b":", b".", b","),
    *(b"\n", b"\r\n", b"#", b"\\", b"\\u", b"\\ud800", b"\\U00110000", b"\x00", b"\x1b[31m"),
    *(
        b"\xff",
        b"\xef\xbb\xbf",
        b"\xe2\x80\xae",
        b"\xed\xa0\x80",
        b"-",
        b"+",
        b"_",
        b"e",
        b"1e999",
    ),
    *(b"0", b"-0", b"0x", b"0b1", b"nan", b"inf", b"-inf", b"NaN", b"Infinity", b"null", b"true"),
    *(b"9" * 30, b"9" * 5000, b"0x" + b"f" * 4000, b"1e-400", b"1979-05-27T07:32:00Z", b"24:61"),
    *(b"[" * 3000, b"{" * 3000, b'{"a":' * 3000, b"[a." * 500, b"a." * 3000),
    *(b"[network]", b"[data]", b"[budget]", b"method", b"kfac", b"adam", b"graph", b'"a:b"'),
    *(b"tied = true", b"residual = true", b"linear = [-9]", b"samples", b"halve_every", b"length"),
]


def main() -> None:
    """Run the fuzzer; exit with 1 if anything but a SpecError came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("experiments/output/fuzz"))
    options = parser.parse_args()
    outcomes, slowest, seconds = fuzz(options.inputs, options.seed, options.output)
    record = {
        "inputs": options.inputs,
        "seed": options.seed,
        "outcomes": dict(outcomes.most_common()),
        "slowest_seconds": slowest,
        "seconds": seconds,
        "machine": kfgn.machine_record(),
    }
    path = write_json(options.output / "spec.json", record)
    print(json.dumps(record["outcomes"], indent=1), f"slowest {slowest:.3f} s", path, sep="\n")
    sys.exit(any(outcome.startswith("FAULT") for outcome in outcomes))


def fuzz(inputs: int, seed: int, output: Path) -> tuple[Counter[str], float, float]:
    """Return how often each outcome was, the slowest input's seconds, and all seconds."""
    rng = random.Random(seed)
    seeds = documents()
    outcomes: Counter[str] = Counter()
    slowest, start = 0.0, time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(inputs):
            suffix, content = rng.choice(seeds)
            content = altered(content, rng, seeds)
            path = Path(folder) / f"a{suffix}"
            path.write_bytes(content)
            began = time.perf_counter()
            outcome = read(path)
            slowest = max(slowest, time.perf_counter() - began)
            outcomes[outcome] += 1
            if outcome.startswith("FAULT"):
                output.mkdir(parents=True, exist_ok=True)
                (output / f"fault-{number}{suffix}").write_bytes(content)
    return outcomes, slowest, time.perf_counter() - start


def read(path: Path) -> str:
    """Read a file as a command does, and say what came out; a spec has to read back as well."""
    try:
        spec = read_spec(path)
        if parse_spec(to_toml(spec), "toml") != spec:
            return "FAULT: does not read back"
    except SpecError as error:
        if not all(line.isprintable() and str(path) in line for line in str(error).split("\n")):
            return "FAULT: an error without its file, or with control characters"
        return "SpecError"
    except Exception as error:
        return f"FAULT: {type(error).__name__}"
    return "a spec"


def documents() -> list[tuple[str, bytes]]:
    """Return what is altered: the presets as TOML and as JSON."""
    found = []
    for name in presets():
        spec = preset(name)
        found += [
            (".toml", preset_text(name).encode()),
            (".json", spec.model_dump_json(indent=1, exclude_defaults=True).encode()),
            (".json", spec.model_dump_json().encode()),
        ]
    return found


def altered(content: bytes, rng: random.Random, seeds: list[tuple[str, bytes]]) -> bytes:
    """Return the bytes after a few alterations, few more often than many."""
    for _ in range(1 + int(rng.expovariate(0.7))):
        content = rng.choice(ALTERATIONS)(content, rng, rng.choice(seeds)[1])
    return content


def _cut(content: bytes, rng: random.Random) -> tuple[int, int]:
    first = rng.randrange(len(content) + 1)
    return first, min(len(content), first + int(rng.expovariate(0.1)))


def _insert(content: bytes, rng: random.Random, _: bytes) -> bytes:
    at, _end = _cut(content, rng)
    return content[:at] + rng.choice(TOKENS) + content[at:]


def _replace(content: bytes, rng: random.Random, _: bytes) -> bytes:
    at, end = _cut(content, rng)
    return content[:at] + rng.choice(TOKENS) + content[end:]


def _remove(content: bytes, rng: random.Random, _: bytes) -> bytes:
    at, end = _cut(content, rng)
    return content[:at] + content[end:]


def _repeat(content: bytes, rng: random.Random, _: bytes) -> bytes:
    at, end = _cut(content, rng)
    return content[:end] + content[at:end] * rng.randint(1, 3) + content[end:]


def _flip(content: bytes, rng: random.Random, _: bytes) -> bytes:
    if not content:
        return content
    at = rng.randrange(len(content))
    return content[:at] + bytes([rng.randrange(256)]) + content[at + 1 :]


def _lines(content: bytes, rng: random.Random, other: bytes) -> bytes:
    """Put a line of another document between two lines, or move one."""
    lines, others = content.split(b"\n"), [*other.split(b"\n"), *content.split(b"\n")]
    lines.insert(rng.randrange(len(lines) + 1), rng.choice(others))
    if rng.random() < 0.5:
        del lines[rng.randrange(len(lines))]
    return b"\n".join(lines)


def _number(content: bytes, rng: random.Random, _: bytes) -> bytes:
    """Put another number in the place of a digit."""
    places = [i for i, c in enumerate(content) if 48 <= c <= 57]
    if not places:
        return content
    at = rng.choice(places)
    value = rng.choice([b"0", b"-1", b"1.5", b"1e99", b"10000000000000000000000", b"true", b'"1"'])
    return content[:at] + value + content[at + 1 :]


ALTERATIONS: list[Callable[[bytes, random.Random, bytes], bytes]] = [
    _insert,
    _replace,
    _remove,
    _repeat,
    _flip,
    _lines,
    _lines,
    _number,
]

if __name__ == "__main__":
    main()
