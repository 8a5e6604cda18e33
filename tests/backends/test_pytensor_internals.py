"""The parts of PyTensor that no interface promises and that the backends rely on.

A failure names the part that changed. The requirement in setup.py admits the versions of PyTensor
with which these tests pass.
"""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.compile.mode import CVM, JAX, NUMBA, optdb
from pytensor.compile.ops import DeepCopyOp
from pytensor.conditional.op import IfElse, LazyIfElse, ifelse
from pytensor.graph.features import Feature, ReplaceValidate
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.utils import InconsistencyError
from pytensor.link.jax.dispatch import jax_funcify
from pytensor.tensor.elemwise import Elemwise
from pytensor.tensor.math import Sum

import kfgn_graph.backends  # noqa: F401  for the rewrites that it registers

#: Functions and methods, by module: the parameters that are passed, or that an override takes.
SIGNATURES: dict[str, dict[str, tuple[str, ...]]] = {
    "pytensor.compile.mode": {"Mode": ("linker", "optimizer")},
    "pytensor.conditional.op": {
        "IfElse": ("n_outs", "as_view"),
        "IfElse.make_thunk": (
            "self",
            "node",
            "storage_map",
            "compute_map",
            "no_recycling",
            "impl",
        ),
    },
    "pytensor.graph.features": {
        "Feature.on_change_input": ("self", "fgraph", "node", "i", "var", "new_var", "reason"),
        "Feature.on_validate": ("self", "fgraph"),
    },
    "pytensor.graph.fg": {
        "FunctionGraph.change_node_input": ("self", "node", "i", "new_var", "reason"),
        "FunctionGraph.replace_all": ("self", "pairs"),
    },
    "pytensor.graph.rewriting.basic": {
        "WalkingGraphRewriter.apply": ("self", "fgraph", "start_from"),
    },
    "pytensor.link.c.basic": {
        "CLinker.accept": ("self", "fgraph"),
        "CLinker.cmodule_key": ("self",),
        "CLinker.compile_args": ("self",),
        "CLinker.get_dynamic_module": ("self",),
        "CLinker.get_src_code": ("self",),
        "CLinker.header_dirs": ("self",),
        "CLinker.lib_dirs": ("self",),
        "CLinker.libraries": ("self",),
        "get_module_cache": (),
    },
    "pytensor.link.c.cmodule": {
        "GCC_compiler.compile_str": (
            *("module_name", "src_code", "location", "include_dirs", "lib_dirs", "libs"),
            *("preargs", "py_module"),
        ),
        "ModuleCache.module_from_key": ("self", "key", "lnk"),
        "dlimport": ("fullpath",),
        "get_lib_extension": (),
    },
    "pytensor.link.c.op": {
        "COp.prepare_node": ("self", "node", "storage_map", "compute_map", "impl"),
        "COp.c_code": ("self", "node", "name", "inputs", "outputs", "sub"),
    },
    "pytensor.link.jax.linker": {"JAXLinker.jit_compile": ("self", "fn")},
    "pytensor.link.numba.cache": {
        "compile_numba_function_src": ("src", "function_name", "global_env", "cache_key"),
    },
    "pytensor.link.numba.dispatch.basic": {
        "cache_key_for_constant": ("data",),
        "numba_funcify_and_cache_key": ("op", "node"),
        "numba_funcify_ensure_cache": ("op", "node"),
        "numba_njit": ("final_function",),
        "numba_typify": ("data",),
        "register_funcify_and_cache_key": ("op_type",),
        "register_funcify_default_op_cache_key": ("op_type",),
    },
    "pytensor.link.numba.dispatch.scalar": {
        "register_scalar_funcify": ("op_type",),
        "scalar_op_cache_key": ("op",),
    },
    "pytensor.link.numba.linker": {
        "NumbaLinker.fgraph_convert": ("self", "fgraph"),
        "NumbaLinker.jit_compile": ("self", "fn_and_cache"),
    },
    "pytensor.link.vm": {
        "VMLinker": ("use_cloop",),
        "VMLinker.compute_gc_dependencies": ("self", "variables"),
        "VMLinker.make_all": ("self",),
    },
    "pytensor.scalar.basic": {"Composite": ("inputs", "outputs")},
    "pytensor.tensor.blas._core": {"ldflags": ("libs", "flags", "libs_dir", "include_dir")},
    "pytensor.tensor.blas.c_code.blas_headers": {"blas_header_text": ()},
    "pytensor.tensor.elemwise": {"Elemwise": ("scalar_op", "inplace_pattern")},
    "pytensor.tensor.rewriting.elemwise": {
        "InplaceElemwiseOptimizer.filter_candidate_pairs": (
            *("self", "fgraph", "node", "protected_inputs"),
        ),
    },
}

#: The order of PyTensor's rewrites, and of those of the package between them. Rewrites of one
#: group may come in any order.
ORDER: list[set[str]] = [
    {"kfgn_jax_dispatch", "kfgn_numba_dispatch"},
    {"canonicalize"},
    {"stabilize"},
    {"kfgn_dot", "kfgn_factored_solves", "kfgn_solves", "kfgn_strided", "kfgn_syrk"},
    {"BlasOpt"},
    {"specialize"},
    {"kfgn_fast_activations", "add_mul_fusion"},
    {"ifelse_simplify"},
    {"kfgn_rematerialised", "kfgn_copy_few_rows", "kfgn_copy_shared_rows", "kfgn_view_joined"},
    {"introduce_lazy_ifelse"},
    {"elemwise_fusion", "merge2"},
    {"kfgn_scalars_by_python"},
    {"add_destroy_handler"},
    {"kfgn_keep_lazy"},
    {"blockwise_inplace"},
    {"kfgn_elementwise_in_place", "inplace_elemwise", "kfgn_inverses_in_place"},
    {"cond_make_inplace"},
    {"kfgn_accumulate_in_marked", "kfgn_accumulate_in_own_dtype", "kfgn_alias_branches"},
    {"kfgn_inline_expressions"},
    {"fuse_indexed_into_elemwise", "merge3"},
    {"kfgn_views_by_numpy"},
]


def named(module: str, name: str) -> Any:
    """Return an object of a module, perhaps of one of its classes."""
    value: Any = import_module(module)
    for part in name.split("."):
        assert hasattr(value, part), f"PyTensor: {module}.{name} is gone"
        value = getattr(value, part)
    return value


@pytest.mark.parametrize(
    ("module", "name"), [(m, name) for m, names in SIGNATURES.items() for name in names]
)
def test_signatures(module: str, name: str) -> None:
    found = inspect.signature(named(module, name)).parameters
    wanted = SIGNATURES[module][name]
    any_keyword = any(p.kind is p.VAR_KEYWORD for p in found.values())
    missing = [parameter for parameter in wanted if parameter not in found and not any_keyword]
    assert not missing, f"PyTensor: {module}.{name}{tuple(found)} no longer takes {missing}"
    required = [
        parameter.name
        for parameter in found.values()
        if parameter.default is parameter.empty and parameter.kind < parameter.VAR_POSITIONAL
    ]
    new = [parameter for parameter in required if parameter not in wanted]
    assert not new, f"PyTensor: {module}.{name} now requires {new}"


def test_order_of_rewrites() -> None:
    import kfgn_graph.backends.c.backend
    import kfgn_graph.backends.jax.backend
    import kfgn_graph.backends.numba.backend
    import kfgn_graph.backends.numba.scalar_dispatch  # noqa: F401

    positions = optdb.__position__
    gone = [name for group in ORDER for name in group if name not in positions]
    assert not gone, f"no rewrites are registered under {gone}"
    last, earlier = -np.inf, ""
    for group in ORDER:
        name = min(group, key=lambda name: positions[name])
        assert positions[name] > last, f"{name} no longer comes after {earlier}"
        earlier = max(group, key=lambda name: positions[name])
        last = positions[earlier]


@pytest.mark.parametrize("mode", [CVM, JAX, NUMBA])
def test_a_mode_keeps_the_query_of_its_rewrites(mode: Any) -> None:
    assert hasattr(mode._optimizer, "including"), "PyTensor: Mode._optimizer is no longer a query"


def conditional() -> tuple[Any, Any]:
    """Return the graph of a lazy conditional on Numba and its node."""
    x = pt.vector("x", shape=(3,))
    chosen = ifelse(x[0] > 0, pt.exp(x), x)
    graph = pytensor.function([x], chosen, mode="NUMBA").maker.fgraph
    node = next((n for n in graph.apply_nodes if isinstance(n.op, LazyIfElse)), None)
    assert node is not None, "PyTensor: ifelse no longer becomes a LazyIfElse for Numba"
    return graph, node


def test_a_lazy_branch_is_a_graph_that_copies_what_it_returns_unchanged() -> None:
    _, node = conditional()
    first, second = node.op.true_branch.fgraph, node.op.false_branch.fgraph
    assert len(first.inputs) == len(second.inputs) == len(node.inputs) - 1
    copies = [isinstance(v.owner.op, DeepCopyOp) for v in second.outputs if v.owner]
    assert copies == [True], "PyTensor: a branch no longer copies an input that it returns"


def test_a_conditional_has_its_condition_before_both_branches() -> None:
    x = pt.vector("x")
    node = ifelse(x[0] > 0, x, 2 * x).owner
    assert isinstance(node.op, IfElse)
    assert node.inputs[1:] == [x, node.inputs[2]], "PyTensor: IfElse orders its inputs otherwise"
    assert node.op.n_outs == 1


def test_a_function_knows_which_outputs_replace_inputs() -> None:
    x, kept = pt.scalar("x"), pytensor.shared(0.0)
    function = pytensor.function([x], 2 * x, updates={kept: kept + x})
    assert function.maker.fgraph.update_mapping == {1: 1}, "PyTensor: update_mapping has changed"
    assert len(function.input_storage) == 2


def test_a_replacement_that_is_taken_back_says_so() -> None:
    """The feature that protects variables has to know what was reverted."""
    reasons = []

    class Watch(Feature):
        def on_change_input(
            self, fgraph: Any, node: Any, i: int, r: Any, new_r: Any, reason: Any = None
        ) -> None:
            reasons.append(reason)

        def on_validate(self, fgraph: Any) -> None:
            raise InconsistencyError

    x = pt.vector("x")
    y = pt.exp(x)
    graph = FunctionGraph([x], [y + 1], clone=False, features=[ReplaceValidate(), Watch()])
    with pytest.raises(InconsistencyError):
        graph.replace_all_validate([(y, pt.log(x))], reason="try")
    assert reasons[0] == "try"
    assert isinstance(reasons[1], tuple) and reasons[1][0] == "Revert", (
        f"PyTensor: a reverted replacement now has the reason {reasons[1]!r}"
    )


def test_in_place_ops_are_recorded_by_the_destroy_handler() -> None:
    x = pt.vector("x")
    graph = pytensor.function([x], pt.tanh(x + 1) * pt.exp(x)).maker.fgraph
    assert isinstance(graph.destroyers(graph.inputs[0]), list)
    handler = graph.destroy_handler
    assert isinstance(handler.view_i, dict) and isinstance(handler.view_o, dict)


def test_an_elementwise_op_has_a_scalar_graph() -> None:
    x = pt.vector("x")
    graph = pytensor.function([x], pt.tanh(pt.exp(x) + 1)).maker.fgraph
    (node,) = [n for n in graph.apply_nodes if isinstance(n.op, Elemwise)]
    assert node.op.scalar_op.fgraph.toposort(), "PyTensor: elementwise Ops are no longer fused"
    assert node.op.inplace_pattern == {} or isinstance(node.op.inplace_pattern, dict)


def test_jax_still_accumulates_float32_in_float64() -> None:
    """While this holds, ``kfgn_accumulate_in_own_dtype`` is needed."""
    node = Sum(dtype="float32", acc_dtype="float64").make_node(pt.fvector("x"))
    total = jax_funcify(node.op, node=node)(np.ones(3, "float32"))
    assert total.dtype == "float64", "PyTensor: JAX sums have their own dtype; drop the rewrite"


def test_a_function_compiled_by_jax_can_be_unwrapped() -> None:
    x = pt.vector("x", shape=(2,))
    function = pytensor.function([x], 2 * x, mode="JAX")
    assert inspect.unwrap(function.vm.jit_fn) is not function.vm.jit_fn


@pytest.mark.parametrize(
    "name",
    ["cxx", "blas__ldflags", "numba__cache", "numba__fastmath", "traceback__limit"],
)
def test_settings(name: str) -> None:
    assert hasattr(pytensor.config, name), f"PyTensor: the setting {name} is gone"
