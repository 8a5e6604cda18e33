"""Specs at random: valid ones, and documents that need not be."""

from typing import Any

from hypothesis import strategies as st
from pydantic import ValidationError

from kfgn_graph.program.spec import GraphSpec
from kfgn_graph.program.spec.choices import TableName

counts = st.integers(1, 10**6)
positives = st.floats(1e-12, 1e12)
words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)

networks = st.fixed_dictionaries(
    {"hidden": st.lists(st.integers(1, 4), min_size=1, max_size=4)},
    optional={
        "activation": st.sampled_from(["tanh", "relu", "sigmoid", "linear"]),
        "linear": st.lists(st.integers(-4, 3), max_size=2),
        "initialisation": st.sampled_from(["glorot-uniform", "he-normal", "sparse"]),
        "residual": st.booleans(),
        "tied": st.booleans(),
        "bias": st.booleans(),
    },
)
data = st.one_of(
    st.fixed_dictionaries({"name": st.sampled_from(["mnist", "curves", "faces", "digits"])}),
    st.fixed_dictionaries(
        {"name": st.just("uci"), "table": st.sampled_from(TableName.__args__)},
        optional={"standardise": st.booleans(), "examples": counts},
    ),
    st.fixed_dictionaries(
        {"file": words}, optional={"arrays": st.lists(words, max_size=2), "examples": counts}
    ),
)
methods = st.one_of(
    st.sampled_from(["kfra", "kflr", "kfac", "hessianfree", "adam"]),
    st.fixed_dictionaries({"name": st.just("kfac"), "samples": counts}),
    st.fixed_dictionaries(
        {"name": st.sampled_from(["sgd", "nesterov"]), "rate": positives},
        optional={"halve_every": counts},
    ),
)
dampings = st.fixed_dictionaries(
    {},
    optional={
        "rule": st.sampled_from(["levenberg-marquardt", "constant"]),
        "value": positives,
        "initial": positives,
        "gamma": st.sampled_from(["tied", "search"]),
        "gamma_every": counts,
        "gamma_minimum": positives,
        "gamma_maximum": positives,
        "minimum_ratio": positives,
        "minimum": positives,
    },
)
steps = st.fixed_dictionaries(
    {},
    optional={
        "length": positives,
        "groups": counts,
        "examples": st.integers(0, 999),
        "reject": st.booleans(),
    },
)
schedules = st.fixed_dictionaries(
    {},
    optional={
        "curvature_decay": st.floats(0, 0.999),
        "refresh_every": counts,
        "average_iterates": st.booleans(),
    },
)
budgets = st.fixed_dictionaries(
    {"updates": counts}, optional={"epochs": positives, "seconds": positives}
)
models = st.one_of(
    st.fixed_dictionaries(
        {"network": networks, "loss": st.sampled_from(["bernoulli", "squared", "softmax"])}
    ),
    st.fixed_dictionaries({"graph": st.sampled_from(["module:function", "a.b:c"])}),
)
rest = st.fixed_dictionaries(
    {"data": data, "budget": budgets},
    optional={
        "name": st.from_regex(r"[a-z0-9][a-z0-9._-]{0,9}", fullmatch=True),
        "method": methods,
        "damping": dampings,
        "step": steps,
        "schedule": schedules,
        "l2": st.floats(0, 10),
        "batch": counts,
        "seed": st.integers(0, 2**32 - 1),
        "dtype": st.sampled_from(["float32", "float64"]),
    },
)
contents = st.builds(lambda model, others: {**others, **model}, models, rest)


def repaired(content: dict[str, Any]) -> GraphSpec:
    """Return the spec of a document, less the settings that do not go with the others."""
    while True:
        try:
            return GraphSpec.model_validate(content)
        except ValidationError as error:
            for part in error.errors():
                misfit = part["ctx"]["error"]
                content = without(content, (*part["loc"], *misfit.key.split(".")))


def without(content: Any, path: tuple[str | int, ...]) -> Any:
    """Return a copy of a document without one of its keys."""
    key, *others = path
    if others:
        return content | {key: without(content[key], tuple(others))}
    return {name: value for name, value in content.items() if name != key}


specs = contents.map(repaired)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=12,
)
