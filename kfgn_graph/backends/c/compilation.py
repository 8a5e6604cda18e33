"""Compilation of a graph's C modules side by side, where PyTensor's linker takes one at a time.

PyTensor makes a module of every kind of node that its cache on disk does not have, and waits for
each. Here what is missing is compiled first, by as many processes as there are processors, with
precompiled headers and without symbols for a debugger; the linker then finds all in the cache.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from pytensor import config
from pytensor.graph.basic import Apply
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.utils import MethodNotDefined
from pytensor.link.c.basic import CLinker, get_module_cache
from pytensor.link.c.cmodule import (
    GCC_compiler,
    dlimport,
    get_lib_extension,
    std_include_dirs,
)
from pytensor.link.c.op import COp

#: What every module includes, in the order in which it may be.
HEADERS = ["Python.h", "iostream", "math.h", "numpy/arrayobject.h", "pytensor_mod_helper.h"]


#: PyTensor asks for debugging symbols, which a quarter of the time would go to. Loops are to be
#: vectorised without branches for exceptions that nobody asks for; and though g++ takes those of
#: many operands for cold, since every check of one is a coin's toss to it, and gives them up
#: where telling the operands' memories apart takes more than ten comparisons.
OPTIONS = (
    "-g0",
    "-fno-trapping-math",
    "--param=hot-bb-frequency-fraction=1000000",
    "--param=vect-max-version-for-alias-checks=100",
)


def compile_missing(nodes: Iterable[Apply]) -> None:
    """Compile the modules of nodes that PyTensor's cache has not, and put them there.

    Raises
    ------
    pytensor.link.c.exceptions.CompileError
        If the compiler does not take the code.
    """
    cache = get_module_cache()
    begun: dict[str, tuple[Any, Module, Future[None]]] = {}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        headers: Future[list[str]] | None = None
        for key, linker in linkers(nodes):
            if key in cache.entry_from_key or not has_code(linker):
                continue
            if headers is None:
                headers = pool.submit(precompiled_headers, Path(folder), linker.compile_args())
            linker.get_src_code()
            code = linker.get_dynamic_module().code_hash
            module = Module(linker, Path(folder, code))
            if code not in begun:
                begun[code] = key, module, pool.submit(module.build, headers)
        for key, module, built in begun.values():
            built.result()
            cache.module_from_key(key, module)


def linkers(nodes: Iterable[Apply]) -> Iterator[tuple[Any, CLinker]]:
    """Yield the cache's key and a linker for every kind of node of C Ops; no code is made yet."""
    seen = set()
    for node in nodes:
        kind = node.op, *(v.type for v in (*node.inputs, *node.outputs))
        if kind in seen or not isinstance(node.op, COp):
            continue
        seen.add(kind)
        node.op.prepare_node(node, storage_map=None, compute_map=None, impl="c")
        linker = CLinker().accept(FunctionGraph(node.inputs, node.outputs))
        try:
            key = linker.cmodule_key()
        except (NotImplementedError, MethodNotDefined, KeyError):
            continue  # PyTensor computes it by Python, or compiles it without the cache
        if key is not None:
            yield key, linker


def has_code(linker: CLinker) -> bool:
    """Return whether there is C code for a linker's node, else PyTensor uses Python."""
    try:
        linker.get_dynamic_module()
    except (NotImplementedError, MethodNotDefined):
        return False
    return True


@dataclass(frozen=True)
class Module:
    """A module to be compiled: what PyTensor's cache takes in place of a linker.

    Attributes
    ----------
    linker : CLinker
        Of a single node.
    folder : Path
        Of this module alone, named by the hash of its code.
    """

    linker: CLinker
    folder: Path

    def build(self, headers: Future[list[str]]) -> None:
        """Compile the library in its folder, in a process that this thread waits for."""
        self.folder.mkdir()
        GCC_compiler.compile_str(
            self.folder.name,
            self.get_src_code(),
            location=str(self.folder),
            include_dirs=self.linker.header_dirs(),
            lib_dirs=self.linker.lib_dirs(),
            libs=self.linker.libraries(),
            preargs=[*self.linker.compile_args(), *OPTIONS, *headers.result()],
            py_module=False,
        )

    def get_src_code(self) -> str:
        """Return the source."""
        source: str = self.linker.get_src_code()
        return source

    def compile_cmodule(self, location: str) -> ModuleType:
        """Move what was compiled to where the cache wants it, and import it."""
        for file in self.folder.iterdir():
            shutil.move(file, location)
        place = Path(location)
        (place / "__init__.py").touch()
        module: ModuleType = dlimport(str(place / f"{self.folder.name}.{get_lib_extension()}"))
        return module


def precompiled_headers(folder: Path, options: Sequence[str]) -> list[str]:
    """Return options that bring in precompiled headers, none if this compiler makes none.

    The compiler itself falls back on the headers where a module's options are others.
    """
    header = folder / "headers.h"
    header.write_text("".join(f"#include <{name}>\n" for name in HEADERS))
    includes = [f"-I{name}" for name in std_include_dirs()]
    command = [config.cxx, *options, *OPTIONS, "-fvisibility=hidden", *includes]
    target = ["-x", "c++-header", str(header), "-o", f"{header}.gch"]
    made = subprocess.run([*command, *target], capture_output=True)
    return [] if made.returncode else ["-include", str(header)]
