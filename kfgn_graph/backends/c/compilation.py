"""Parallel compilation of the C modules of a graph.

PyTensor compiles a module for each kind of node that is not in its cache on disk, one after
another. :func:`compile_missing` compiles all missing modules first, one process for each
processor, without debug symbols. PyTensor's linker then finds them in the cache.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from pytensor.graph.basic import Apply
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.utils import MethodNotDefined
from pytensor.link.c.basic import CLinker, get_module_cache
from pytensor.link.c.cmodule import GCC_compiler, dlimport, get_lib_extension
from pytensor.link.c.op import COp

#: Options added to those of PyTensor. The first omits debug symbols, which take a quarter of the
#: time. The others let g++ vectorise elementwise loops: floating-point traps are not observed;
#: loops over many operands are not taken for cold, although each check of an operand halves their
#: estimated frequency; and up to 100 run-time comparisons may show that operands do not alias.
OPTIONS = (
    "-g0",
    "-fno-trapping-math",
    "--param=hot-bb-frequency-fraction=1000000",
    "--param=vect-max-version-for-alias-checks=100",
)


def compile_missing(nodes: Iterable[Apply]) -> None:
    """Compile the modules of nodes that are missing in PyTensor's cache, and add them.

    Raises
    ------
    pytensor.link.c.exceptions.CompileError
        If the compiler fails.
    """
    cache = get_module_cache()
    begun: dict[str, tuple[Any, Module, Future[None]]] = {}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        for key, linker in linkers(nodes):
            if key in cache.entry_from_key or not has_code(linker):
                continue
            linker.get_src_code()
            code = linker.get_dynamic_module().code_hash
            module = Module(linker, Path(folder, code))
            if code not in begun:
                begun[code] = key, module, pool.submit(module.build)
        for key, module, built in begun.values():
            built.result()
            cache.module_from_key(key, module)


def linkers(nodes: Iterable[Apply]) -> Iterator[tuple[Any, CLinker]]:
    """Yield a cache key and a linker for every kind of node of a C Op, without generating code."""
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
            continue  # PyTensor evaluates it by Python, or compiles it without the cache
        if key is not None:
            yield key, linker


def has_code(linker: CLinker) -> bool:
    """Return whether a linker's node has C code; PyTensor evaluates other nodes by Python."""
    try:
        linker.get_dynamic_module()
    except (NotImplementedError, MethodNotDefined):
        return False
    return True


@dataclass(frozen=True)
class Module:
    """A module to be compiled, with the interface of a linker that PyTensor's cache calls.

    Attributes
    ----------
    linker : CLinker
        The linker of a single node.
    folder : Path
        A folder for this module, named by the hash of its code.
    """

    linker: CLinker
    folder: Path

    def build(self) -> None:
        """Compile the shared library in its folder, in a separate process."""
        self.folder.mkdir()
        GCC_compiler.compile_str(
            self.folder.name,
            self.get_src_code(),
            location=str(self.folder),
            include_dirs=self.linker.header_dirs(),
            lib_dirs=self.linker.lib_dirs(),
            libs=self.linker.libraries(),
            preargs=[*self.linker.compile_args(), *OPTIONS],
            py_module=False,
        )

    def get_src_code(self) -> str:
        """Return the source."""
        source: str = self.linker.get_src_code()
        return source

    def compile_cmodule(self, location: str) -> ModuleType:
        """Move the compiled library to a folder of the cache, and import it."""
        for file in self.folder.iterdir():
            shutil.move(file, location)
        place = Path(location)
        (place / "__init__.py").touch()
        module: ModuleType = dlimport(str(place / f"{self.folder.name}.{get_lib_extension()}"))
        return module
