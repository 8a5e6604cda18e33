"""Pydantic models of a spec: the network, the data, the optimiser, the budget and the records.

The docstring of a field is also its description in the JSON Schema and on the reference page. A
key that is left out of a spec takes the package's default.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, Field, model_validator

from kfgn_graph.program.spec.choices import (
    Activation,
    BackendName,
    DataName,
    InverseName,
    LossName,
    MethodName,
    TableName,
)
from kfgn_graph.program.spec.limits import (
    MOST_LAYERS,
    Count,
    CountFromZero,
    Draws,
    Index,
    NotNegative,
    Passes,
    Period,
    Positive,
    Share,
)
from kfgn_graph.program.spec.section import Misfit, Section

FileKind = Literal["arrays", "array", "idx", "table"]
FILE_KINDS: dict[FileKind, str] = {
    "arrays": "file, an .npz file",
    "array": "file, a .npy or idx file",
    "table": "file, a table (.csv or .tsv)",
}
"""Words for the kinds of files."""
KEYS_OF_KINDS: dict[str, tuple[FileKind, ...]] = {
    "arrays": ("arrays",),
    "targets": ("array", "idx"),
    "target": ("table",),
    "columns": ("table",),
    "categorical": ("table",),
}
"""The keys that belong to some kinds of files only."""


def kind_of(file: str) -> FileKind:
    """Return the kind of a file by its name; ``arrays`` unless the suffix is another's."""
    name = file.lower().removesuffix(".gz")
    if name.endswith((".csv", ".tsv")) and not file.lower().endswith(".gz"):
        return "table"
    if name.endswith((".idx", "-ubyte")) or re.search(r"\bidx\d\b", name):
        return "idx"
    return "array" if name.endswith(".npy") and not file.lower().endswith(".gz") else "arrays"


def _named(value: object) -> object:
    """Expand ``method = "kfac"`` to ``method = {name = "kfac"}``."""
    return {"name": value} if isinstance(value, str) else value


class NetworkSpec(Section):
    """A multilayer perceptron. The input and output widths follow from the data."""

    hidden: Annotated[list[Count], Field(max_length=MOST_LAYERS)]
    """Widths of the hidden layers, first to last."""
    activation: Activation = "tanh"
    """Activation function of the hidden layers."""
    linear: list[Index] = Field([], max_length=MOST_LAYERS)
    """Indices of the hidden layers without an activation, counted from 0; -1 is the last."""
    initialisation: Literal["glorot-uniform", "he-normal", "sparse"] = "glorot-uniform"
    """Distribution of the initial weights; biases start at zero. ``glorot-uniform`` is uniform in
    +-sqrt(6 / (fan_in + fan_out)), four times as wide before a sigmoid. ``he-normal`` is normal
    with variance 2 / fan_in. ``sparse`` draws 15 incoming weights of each unit from N(0, 1) and
    sets the others to zero."""
    residual: bool = False
    """Whether each hidden layer that is as wide as its predecessor adds its input to its
    output."""
    tied: bool = False
    """Whether the second half of the layers uses the transposed weights of the first half. The
    widths must be symmetric."""
    bias: bool = True
    """Whether layers have biases."""

    @model_validator(mode="after")
    def _fitting(self) -> NetworkSpec:
        count = len(self.hidden)
        if outside := [index for index in self.linear if not -count <= index < count]:
            raise Misfit("linear", f"no hidden layer {outside[0]}; there are {count}, from 0")
        if self.tied and self.hidden != self.hidden[::-1]:
            raise Misfit("tied", f"needs symmetric widths, and {self.hidden} are not symmetric")
        if self.tied and count % 2 == 0:
            raise Misfit("tied", f"needs an odd number of hidden layers, not {count}")
        if self.residual and all(a != b for a, b in pairwise(self.hidden)):
            raise Misfit("residual", "no two consecutive hidden layers have the same width")
        return self


class DataSpec(Section):
    """The training data: a built-in data set or a file."""

    name: DataName | None = None
    """Name of a built-in data set; ``kfgn data list`` lists them."""
    table: TableName | None = None
    """For ``uci``: the table, for example ``concrete``."""
    file: str | None = None
    """Alternative to ``name``: the path of a file, relative to the spec. Arrays of NumPy (.npz, or
    one array as .npy) without pickled objects, idx files (.idx, also with .gz), or a table (.csv
    or .tsv) whose first line names the columns."""
    arrays: list[str] = Field([])
    """For ``file``: names of the arrays to use, in the order of the loss's inputs; by default the
    arrays named as the inputs."""
    targets: str | None = None
    """For a .npy or idx file: the path of the file with the targets."""
    target: str | None = None
    """For a table: name of the column with the targets. Text is numbered as the classes of
    ``softmax``, in alphabetical order."""
    columns: list[str] = Field([])
    """For a table: names of the columns with the examples; by default all but the target."""
    categorical: list[str] = Field([])
    """For a table: columns of categories that are written as numbers. A column whose first entry
    is no number has categories in any case. Each category becomes a column of zeros and ones."""
    examples: Count | None = None
    """Number of training examples, taken from the start of the data; all by default."""
    standardise: bool = False
    """Whether to scale the inputs, and targets that are not labels, to mean 0 and variance 1.
    Arrays of whole numbers are scaled as the inputs of a network and as targets of ``squared``
    only. The run's ``scaling.npz`` keeps both."""

    @model_validator(mode="after")
    def _one_source(self) -> DataSpec:
        if (self.name is None) == (self.file is None):
            raise ValueError("give either name or file")
        if (self.table is not None) != (self.name == "uci"):
            raise Misfit("table", 'belongs to name = "uci", which needs it')
        kind = None if self.file is None else kind_of(self.file)
        for key, kinds in KEYS_OF_KINDS.items():
            if getattr(self, key) and kind not in kinds:
                raise Misfit(key, f"belongs to {FILE_KINDS[kinds[0]]}")
        return self


class MethodSpec(Section):
    """The optimiser. A plain string sets ``name`` alone."""

    name: MethodName = "kfra"
    """A second-order method (``kfra``, ``kflr``, ``kfac``, ``hessianfree``) or a first-order rule
    of pytensor-ml (``sgd``, ``momentum``, ``nesterov``, ``adam``)."""
    samples: Draws = 1
    """For ``kfac``: number of targets drawn per example."""
    rate: Positive = 1e-3
    """For first-order rules: the learning rate."""
    halve_every: Period | None = None
    """For first-order rules: number of updates between halvings of the rate; by default it stays
    constant."""

    @model_validator(mode="after")
    def _of_use(self) -> MethodSpec:
        if self.name != "kfac":
            self.without_effect(f"on {self.name}, which draws nothing", "samples")
        if not self.first_order:
            self.without_effect(f"on {self.name} (see step.length)", "rate", "halve_every")
        return self

    @property
    def first_order(self) -> bool:
        """Whether the optimiser uses gradients only."""
        return self.name in ("sgd", "momentum", "nesterov", "adam")


class DampingSpec(Section):
    """The damping: lambda for the quadratic model, gamma for the factors."""

    rule: Literal["levenberg-marquardt", "constant"] = "levenberg-marquardt"
    """How lambda changes: adapted by the reduction ratio, or constant."""
    value: Positive = 1e-3
    """For ``constant``: lambda, in units of the loss's curvature."""
    initial: Positive | None = None
    """For ``levenberg-marquardt``: the initial lambda; by default relative to the mean
    curvature."""
    every: Period = 5
    """For ``levenberg-marquardt``: number of updates between adaptations, T1."""
    minimum_ratio: NotNegative = 1e-4
    """For ``levenberg-marquardt``: lower bound of lambda, relative to the mean eigenvalue of the
    curvature."""
    minimum: NotNegative = 0.0
    """For ``levenberg-marquardt``: lower bound of lambda."""
    gamma: Literal["tied", "search"] = "tied"
    """How gamma is chosen: ``tied`` sets sqrt(lambda + eta); ``search`` takes the best of three
    values every ``gamma_every`` updates."""
    gamma_every: Period = 20
    """For ``search``: number of updates between searches, T2."""
    gamma_minimum: NotNegative = 0.0
    """For ``search``: lower bound of the values that are tried."""
    gamma_maximum: Positive | None = None
    """For ``search``: upper bound of the values that are tried; none by default."""

    @model_validator(mode="after")
    def _of_use(self) -> DampingSpec:
        if self.rule == "constant":
            adaptive = ("initial", "every", "minimum_ratio", "minimum")
            self.without_effect('with rule = "constant"', *adaptive)
        else:
            self.without_effect(f'with rule = "{self.rule}"', "value")
        if self.gamma == "tied":
            searched = ("gamma_every", "gamma_minimum", "gamma_maximum")
            self.without_effect('with gamma = "tied"', *searched)
        if self.gamma_maximum is not None and self.gamma_maximum <= self.gamma_minimum:
            raise Misfit("gamma_maximum", f"must be above gamma_minimum, {self.gamma_minimum:g}")
        return self


class StepSpec(Section):
    """The step length along the preconditioned gradient."""

    length: Positive | None = None
    """A fixed step length; by default the exact quadratic model sets it."""
    momentum: bool = True
    """Whether the previous update is a further direction of the quadratic model."""
    groups: Period = 2
    """Number of groups of consecutive layers; each has a separate step length."""
    examples: CountFromZero = 250
    """Number of examples of the batch for the curvature of the quadratic model; 0 means all."""
    reject: bool = True
    """Whether an update is rejected if its reduction ratio is below 0.25. With a constant lambda
    every update is accepted."""

    @model_validator(mode="after")
    def _of_use(self) -> StepSpec:
        if self.length is not None:
            rescaling = ("momentum", "groups", "examples", "reject")
            self.without_effect("with a fixed length", *rescaling)
        return self


class ScheduleSpec(Section):
    """The periods of factors and inverses, and the averages."""

    curvature_decay: Share = 0.8
    """Weight of the old factors in their moving average."""
    factors_every: Period = 5
    """Number of updates between estimates of the factors."""
    refresh_every: Period = 10
    """Number of updates between refreshes of the inverses, T3."""
    inverse: InverseName = "cholesky"
    """Strategy for inverting the damped blocks."""
    average_iterates: bool = False
    """Whether to keep an average of the parameters and to evaluate it too."""


class BudgetSpec(Section):
    """The limits of training, which ends at the first limit reached."""

    updates: Count | None = None
    """Maximum number of updates."""
    epochs: Passes | None = None
    """Maximum number of passes over the data."""
    seconds: Positive | None = None
    """Maximum number of seconds spent on updates, without compilation, summed over all sessions of
    the run."""

    @model_validator(mode="after")
    def _some_limit(self) -> BudgetSpec:
        if self.updates is None and self.epochs is None and self.seconds is None:
            raise ValueError("give updates, epochs or seconds")
        return self


class RecordSpec(Section):
    """The records of a run: evaluations, checkpoints and event files."""

    evaluate_every: Count | None = None
    """Number of updates between evaluations on the full training set; by default a tenth of the
    budget."""
    checkpoint_every: Count = 100
    """Number of updates between checkpoints. The end of training and Ctrl-C always write one."""
    keep: Count = 3
    """Number of checkpoints to keep; older ones are deleted."""
    tensorboard: bool = False
    """Whether to write TensorBoard event files as well."""


class GraphSpec(Section):
    """A complete training run: a network or the user's graph, its data and its optimiser."""

    name: str = Field("run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)
    """Name of the run's folder."""
    graph: str | None = Field(None, pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    """Alternative to ``network`` and ``loss``: your own function, as ``package.module:function``.
    It returns loss, parameters and inputs, and optionally the output at which the loss is split
    from the network. It is called without arguments, or with the spec's ``seed`` if it has a
    parameter of that name."""
    network: NetworkSpec | None = None
    """The network that the program builds."""
    loss: LossName | None = None
    """Loss of the network, a mean over examples. ``bernoulli`` is the cross-entropy from logits,
    summed over outputs. ``squared`` is half the squared error, summed over outputs. ``softmax``
    is the cross-entropy of class labels."""
    data: DataSpec
    """The training data."""
    method: Annotated[
        MethodSpec, BeforeValidator(_named, json_schema_input_type=MethodSpec | MethodName)
    ] = MethodSpec()
    """The optimiser."""
    damping: DampingSpec = DampingSpec()
    """For second-order methods only."""
    step: StepSpec = StepSpec()
    """For second-order methods only."""
    schedule: ScheduleSpec = ScheduleSpec()
    """For second-order methods only."""
    l2: NotNegative = 0.0
    """Coefficient eta of the penalty (eta / 2) ||theta||^2, which is added to the loss."""
    batch: Count = 1000
    """Number of examples in each update."""
    budget: BudgetSpec
    """The limits of training."""
    record: RecordSpec = RecordSpec()
    """The records of a run."""
    backend: BackendName = "auto"
    """The compiler. ``auto`` takes JAX where it is installed, otherwise Numba."""
    dtype: Literal["float32", "float64"] = "float32"
    """Data type of parameters and data."""
    unmatched: Literal["error", "gradient", "freeze"] = "error"
    """Treatment of parameters outside every layer: raise an error, take gradient steps, or keep
    them fixed."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of the initial weights, the order of the data and all random draws."""

    @model_validator(mode="after")
    def _one_network(self) -> GraphSpec:
        if (self.network is None) == (self.graph is None):
            raise ValueError("give either network or graph")
        if self.network is None and self.loss is not None:
            raise Misfit("loss", "`graph` returns its own loss; leave `loss` out")
        if self.network is not None and self.loss is None:
            raise Misfit("loss", f"`network` needs one of {', '.join(get_args(LossName))}")
        return self

    @model_validator(mode="after")
    def _of_use(self) -> GraphSpec:
        if self.method.first_order:
            reason = f"on {self.method.name}, which uses gradients only"
            self.without_effect(reason, "damping", "step", "schedule", "unmatched")
        elif self.network is not None and self.network.tied:
            raise Misfit(
                "network.tied",
                "second-order methods have no block for a weight that two layers share; choose "
                "a first-order method",
            )
        if self.method.name == "hessianfree":
            kept = ("curvature_decay", "factors_every", "refresh_every", "inverse")
            self.schedule.without_effect("on hessianfree", *kept, table="schedule.")
        if self.graph is not None:
            self.without_effect("on graph, which sets its own dtype", "dtype")
        return self
