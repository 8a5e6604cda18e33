"""The parts of the backends that can be left out, and how each is left out."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from kfgn_graph.backends import resolve_backend

BACKENDS = "kfgn_graph.backends"
NOTHING: Callable[..., None] = lambda *_: None  # noqa: E731


@dataclass(frozen=True)
class Part:
    """A rewrite, or a part of a linker.

    Attributes
    ----------
    name : str
        For the table.
    tags : tuple of str
        Rewrites that the mode excludes when the part is left out.
    remove : callable or None
        Replaces functions of the package when the part is left out, for parts that are no
        rewrites.
    compiles : bool
        Whether the part serves first calls, which are then timed, with a separate cache of
        compiled code.
    updates : bool
        Whether the part serves updates, which are then timed.
    own_code : bool
        Whether the part changes compiled code without changing its key in the cache.
    """

    name: str
    tags: tuple[str, ...] = ()
    remove: Callable[[], None] | None = None
    compiles: bool = False
    updates: bool = True
    own_code: bool = False

    def leave_out(self, backend: str) -> None:
        """Leave the part out of all that a backend compiles from here on."""
        kind = type(resolve_backend(backend))
        if self.remove is not None:
            self.remove()
        if self.tags:
            mode = kind.mode
            kind.mode = lambda this: mode(this).excluding(*self.tags)  # type: ignore[method-assign]


def replace(module: str, name: str, value: Any) -> Callable[[], None]:
    """Return a call that replaces what ``name``, perhaps of a class, refers to in a module."""

    def replaced() -> None:
        owner: Any = import_module(f"{BACKENDS}.{module}")
        *path, last = name.split(".")
        for step in path:
            owner = getattr(owner, step)
        setattr(owner, last, value)

    return replaced


def in_place_by_trying() -> None:
    """Let PyTensor look for elementwise Ops that may write into an argument."""
    from pytensor.tensor.rewriting.elemwise import InplaceElemwiseOptimizer

    pairs = InplaceElemwiseOptimizer.filter_candidate_pairs
    replace("rewrites.in_place", "ElementwiseInPlace.filter_candidate_pairs", pairs)()


def without_donation() -> None:
    """Let JAX keep the values that an update replaces."""
    import jax

    from kfgn_graph.backends.jax.linker import options_of

    def compiled(self: Any, fn: Any) -> Any:
        return jax.jit(fn, compiler_options=options_of(self.fgraph))

    replace("jax.linker", "DonatingJAXLinker.jit_compile", compiled)()


def average_without_barrier() -> None:
    """Let XLA compute a factor's average together with what reads it."""
    import jax

    def only_arrays(value: Any) -> Any:
        return value if isinstance(value, tuple) else jax.lax.optimization_barrier(value)

    replace("jax.dispatch", "barrier", only_arrays)()


def numba_linker() -> None:
    """Let PyTensor's own linker compile the whole graph."""
    from pytensor.link.numba.linker import NumbaLinker

    replace("numba.backend", "KernelLinker", NumbaLinker)()


def register_in_python(names: Iterable[str], function: str | None) -> Callable[[], None]:
    """Return a call that changes which Ops Python computes in place of Numba."""

    def registered() -> None:
        kernels = import_module(f"{BACKENDS}.numba.kernels")
        kinds = import_module(f"{BACKENDS}.numba.dispatch")
        how = getattr(kernels, function) if function else NOTHING
        for name in names:
            found = getattr(kernels, name, None) or getattr(kinds, name)
            for kind in found if isinstance(found, tuple) else (found,):
                kernels.in_python.register(kind, how)

    return registered


def every_kernel_apart() -> None:
    """Give every node a function, also those computed alike."""

    def function(self: Any, node: Any) -> str:
        value, key = self._kernel(node)
        return str(self._refer(value, key))

    replace("numba.codegen", "Writer._function", function)()


def c_options(*dropped: str) -> Callable[[], None]:
    """Return a call that drops options whose text begins so from the C compiler's."""

    def drop() -> None:
        module = import_module(f"{BACKENDS}.c.compilation")
        module.OPTIONS = tuple(o for o in module.OPTIONS if not o.startswith(dropped))

    return drop


def pytensors_freeing() -> None:
    """Free a value after the last of all its clients, also those in branches not taken."""
    from pytensor.link.vm import VMLinker

    original = VMLinker.compute_gc_dependencies
    replace("c.linker", "ParallelCLinker.compute_gc_dependencies", original)()


RECOMPUTED = Part("rematerialise", ("kfgn_rematerialise",))
SOLVES = Part("factored solves", ("kfgn_factored_solves",))
SYRK = Part("SYRK", ("kfgn_syrk",))
FAST = Part("fast activations", ("kfgn_fast_activations",))
ROWS = Part("leading rows", ("kfgn_copy_few_rows",))
INVERSES = Part("inverses and averages in place", ("kfgn_inverses_in_place",))
TRYING = Part(
    "elementwise in place by rule", remove=in_place_by_trying, compiles=True, updates=False
)

PARTS: dict[str, tuple[Part, ...]] = {
    "jax": (
        RECOMPUTED,
        Part("leading rows", ("kfgn_copy_shared_rows",)),
        Part("strided diagonal (GPU)", ("kfgn_strided_diagonals",)),
        Part("factored solves", ("kfgn_solves",)),
        Part("donation", remove=without_donation),
        Part("XLA's order for memory", remove=replace("jax.linker", "options_of", lambda _: {})),
        Part("barrier after averages", remove=average_without_barrier),
        Part("small matrices by entries", remove=replace("jax.dispatch", "SMALL", 0)),
    ),
    "numba": (
        SYRK,
        SOLVES,
        FAST,
        RECOMPUTED,
        TRYING,
        ROWS,
        Part("joined parts", ("kfgn_view_joined",)),
        Part("inlined expressions", ("kfgn_inline_expressions",), compiles=True, updates=False),
        INVERSES,
        Part(
            "aliased branches", remove=replace("numba.codegen", "unneeded_copies", lambda *_: {})
        ),
        Part(
            "averages in place",
            remove=replace("numba.codegen", "safe_overwriters", lambda *_: ()),
        ),
        Part("freeing", remove=replace("numba.codegen", "Writer._free", NOTHING)),
        Part("whole linker", remove=numba_linker, compiles=True, updates=False),
        Part(
            "kernels",
            remove=replace("numba.codegen", "is_small", lambda _: True),
            compiles=True,
            updates=False,
        ),
        Part("small as one", remove=replace("numba.codegen", "is_small", lambda _: False)),
        Part(
            "views by NumPy",
            remove=register_in_python(["NUMPY_OPS", "DimShuffle"], None),
            compiles=True,
            updates=False,
        ),
        Part(
            "numbers by Python",
            remove=register_in_python(["ScalarOp"], None),
            compiles=True,
            updates=False,
        ),
        Part("GEMM of SciPy", remove=register_in_python(["Dot"], None), compiles=True),
        Part("one function a kind", remove=every_kernel_apart, compiles=True, updates=False),
        Part(
            "inverse kernels",
            remove=register_in_python(["ShiftedInverse", "RefreshedInverse"], "by_perform"),
            compiles=True,
        ),
        Part("SYRK kernel", remove=register_in_python(["Syrk"], "by_perform"), compiles=True),
        Part(
            "average kernel",
            remove=register_in_python(["FactorAverage"], "by_perform"),
            compiles=True,
        ),
    ),
    "c": (
        SYRK,
        SOLVES,
        Part("DOT", ("kfgn_dot",)),
        FAST,
        RECOMPUTED,
        TRYING,
        Part("aliased branches", ("kfgn_alias_branches",)),
        Part("left to NumPy", ("kfgn_by_numpy",), compiles=True, updates=False),
        Part("numbers left to NumPy", ("kfgn_scalars_by_python",), compiles=True, updates=False),
        Part("views left to NumPy", ("kfgn_views_by_numpy",), compiles=True, updates=False),
        INVERSES,
        Part("freeing", remove=pytensors_freeing),
        Part(
            "compiled side by side",
            remove=replace("c.linker", "compile_missing", NOTHING),
            compiles=True,
            updates=False,
        ),
        Part("-g0", remove=c_options("-g0"), compiles=True, updates=False),
        Part("vectorised loops", remove=c_options("-fno", "--param"), own_code=True),
    ),
}
"""By backend, each part as it may be left out."""

NONE = Part("nothing")


def part_of(backend: str, name: str) -> Part:
    """Return a backend's part by name."""
    return next(part for part in (NONE, *PARTS[backend]) if part.name == name)
