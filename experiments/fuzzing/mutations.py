"""Random damage to JSON documents, bytes, safetensors files and ``.npz`` files."""

import io
import json
import random
import struct
import zipfile
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from safetensors.numpy import load, save

from kfgn_graph.program.checkpoints import KEY, _digest

VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 2, 7, 0.5, -0.5, 2**31, 2**32, 2**53, 2**63, 2**64, 2**128),
    *(10**15, 10**30, 10**400, 1e308, -1e308, 1e-320, float("nan"), float("inf")),
    *("", "0", "\0", "\x1b[31m", "\ud800", "x" * 5000, "a/b", "../..", "kfgn-run-1", "PCG64"),
    *([], {}, [[]], [0], {"": 0}, {"\x1b[2J": 1}, {"name": "x", "inputs": 1, "outputs": 1}),
]
TOKENS = [
    *(
        b"\x00",
        b"\xff",
        b"\n",
        b"\r",
        b'"',
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\\",
        b"\x1b[31m",
    ),
    *(b"NaN", b"Infinity", b"1e999", b"-0", b"9" * 30, b"9" * 5000, b"null", b"true", b"\\ud800"),
    *(b"[" * 3000, b'{"a":' * 3000, b'{"kind": "update"}\n', b"PK\x03\x04", b"\x93NUMPY\x01\x00"),
]
KINDS = ["BF16", "F8_E4M3", "F8_E5M2", "F4", "C64", "F16", "F64", "I64", "BOOL", "U8", "", 5, None]


def bytes_damaged(content: bytes, rng: random.Random) -> bytes:
    """Return bytes with a few of them changed, inserted, removed, repeated or cut off."""
    for _ in range(1 + int(rng.expovariate(1.0))):
        at = rng.randrange(len(content) + 1)
        end = min(len(content), at + 1 + int(rng.expovariate(0.05)))
        token = rng.choice([rng.choice(TOKENS), rng.randbytes(rng.randint(1, 8))])
        content = rng.choice(
            [
                content[:at] + token + content[at:],
                content[:at] + token + content[end:],
                content[:at] + content[end:],
                content[:at] + content[at:end] * 2 + content[end:],
                content[:at],
                content[:at]
                + bytes(b ^ (1 << rng.randrange(8)) for b in content[at : at + 1])
                + content[at + 1 :],
            ]
        )
    return content


def document_damaged(document: Any, rng: random.Random) -> Any:
    """Return a JSON document with a few of its values replaced, removed, added or exchanged."""
    document = json.loads(json.dumps(document))
    for _ in range(1 + int(rng.expovariate(1.0))):
        holders = list(_holders(document))
        if not holders:
            return document
        holder = rng.choice(holders)
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        action = rng.random()
        if action < 0.15 and isinstance(holder, dict):
            holder[rng.choice(["", "x", "update", "kind", "\x1b", "seconds"])] = _value(rng)
        elif not keys:
            continue
        elif action < 0.35:
            del holder[rng.choice(keys)]
        elif action < 0.5:
            one, other = rng.choice(keys), rng.choice(keys)
            holder[one], holder[other] = holder[other], holder[one]
        else:
            holder[rng.choice(keys)] = _value(rng)
    return document


def _holders(document: Any) -> Any:
    """Yield all objects and lists of a document."""
    if isinstance(document, dict | list):
        yield document
        for value in document.values() if isinstance(document, dict) else document:
            yield from _holders(value)


def _value(rng: random.Random) -> Any:
    value = deepcopy(rng.choice(VALUES))
    for _ in range(rng.choice([0, 0, 0, 0, 1, 3, 200])):
        value = rng.choice([[value], {"a": value}])
    return value


def json_damaged(content: bytes, rng: random.Random) -> bytes:
    """Return a JSON text with a damaged document, which is valid JSON but for NaN."""
    return json.dumps(document_damaged(json.loads(content), rng)).encode()


def lines_damaged(content: bytes, rng: random.Random) -> bytes:
    """Return JSON lines of which one is damaged, removed, repeated or exchanged with another."""
    lines = content.splitlines(keepends=True)
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    action = rng.randrange(6)
    if action == 0:
        del lines[at]
    elif action == 1:
        lines.insert(other, lines[at])
    elif action == 2:
        lines[at], lines[other] = lines[other], lines[at]
    elif action == 3:
        lines = lines[:at]
    else:
        lines[at] = json_damaged(lines[at], rng) + b"\n"
    return b"".join(lines)


def checkpoint_damaged(content: bytes, rng: random.Random) -> bytes:
    """Return a checkpoint with a damaged header of the program, under a matching SHA-256."""
    header, arrays = _checkpoint_parts(content)
    header = document_damaged(header, rng)
    if rng.random() < 0.2:
        name = rng.choice(list(arrays))
        arrays[rng.choice(["x", name])] = arrays[name].reshape(-1)[:1]
    if isinstance(header, dict):
        header.pop("sha256", None)
        try:
            header["sha256"] = _digest(header, arrays)
        except ValueError:  # text that has no UTF-8
            header["sha256"] = "0" * 64
    return save(arrays, {KEY: json.dumps(header)})


def _checkpoint_parts(content: bytes) -> tuple[Any, dict[str, Any]]:
    size = struct.unpack("<Q", content[:8])[0]
    table = json.loads(content[8 : 8 + size])
    return json.loads(table["__metadata__"][KEY]), load(content)


def tensors_damaged(content: bytes, rng: random.Random) -> bytes:
    """Return a safetensors file with a damaged table of its tensors: types, shapes, places."""
    size = struct.unpack("<Q", content[:8])[0]
    table, rest = json.loads(content[8 : 8 + size]), content[8 + size :]
    name = rng.choice([key for key in table if key != "__metadata__"])
    action = rng.randrange(4)
    if action == 0:
        table[name]["dtype"] = rng.choice(KINDS)
    elif action == 1:
        table[name]["shape"] = rng.choice([[2**40], [15 * 10**9], [2**32, 2**32], [], [0], [-1]])
    elif action == 2:
        end = rng.choice([15 * 10**9 * 4, 2**63, 0, 1])
        table[name] = {"dtype": "F32", "shape": [end // 4], "data_offsets": [0, end]}
    else:
        table = document_damaged(table, rng)
    text = json.dumps(table).encode()
    return struct.pack("<Q", rng.choice([len(text)] * 9 + [60 * 10**9, 2**63])) + text + rest


def arrays_damaged(content: bytes, rng: random.Random) -> bytes:
    """Return an ``.npz`` file of which one array's header or name is damaged, or an ``.npy``."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w") as new:
        names = old.namelist()
        chosen = rng.choice(names)
        for name in names:
            part = old.read(name)
            if name == chosen:
                part = _array_damaged(part, rng)
                if rng.random() < 0.1:
                    return part
                name = rng.choice([name] * 5 + ["data.csv", "x", "\x1b[31m.npy", "../x.npy"])
            new.writestr(name, part)
    return out.getvalue()


def _array_damaged(part: bytes, rng: random.Random) -> bytes:
    """Return an ``.npy`` file with another declared shape or type, or with damaged bytes."""
    if rng.random() < 0.3:
        return bytes_damaged(part, rng)
    size = struct.unpack("<H", part[8:10])[0]
    shape = rng.choice(["(15000000000,)", "(2, 3)", "()", "(0,)", "(-1,)", "(2,) * 9", "(9**99,)"])
    kind = rng.choice(["<f4", "<f8", "<i8", "|O", "<U4", "|V8", "<c16", "|b1", ">f2", "|S0", "x"])
    header = f"{{'descr': '{kind}', 'fortran_order': {rng.random() < 0.5}, 'shape': {shape}, }}"
    text = header.encode().ljust(size - 1) + b"\n"
    return part[:8] + struct.pack("<H", len(text)) + text + part[10 + size :]


Mutation = Callable[[bytes, random.Random], bytes]
