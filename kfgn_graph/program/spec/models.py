"""The models of a spec: what is trained, how, on what and for how long.

A field's description is its documentation: of the class, of the JSON Schema and of the reference
page. What is left out of a spec is the package's default.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

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
from kfgn_graph.program.spec.section import Misfit, Section

MOST = 10**15
"""Of what is counted; every reader of JSON or TOML holds it exactly."""

Count = Annotated[int, Field(ge=1, le=MOST)]
CountFromZero = Annotated[int, Field(ge=0, le=MOST)]
Index = Annotated[int, Field(ge=-MOST, le=MOST)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]


def _named(value: object) -> object:
    """Let ``method = "kfac"`` stand for ``method = {name = "kfac"}``."""
    return {"name": value} if isinstance(value, str) else value


class NetworkSpec(Section):
    """A multilayer perceptron; the ends' widths follow from the data."""

    hidden: list[Count]
    """Widths of the hidden layers, first to last."""
    activation: Activation = "tanh"
    """Of the hidden layers."""
    linear: list[Index] = Field([])
    """Hidden layers without activation, counted from 0; -1 is the last."""
    initialisation: Literal["glorot-uniform", "he-normal", "sparse"] = "glorot-uniform"
    """Of the weights: uniform in +-sqrt(6 / (fan_in + fan_out)), four times that before a sigmoid;
    normal with variance 2 / fan_in; or 15 incoming weights a unit from N(0, 1), the rest zero.
    Biases are zero."""
    residual: bool = False
    """Whether a hidden layer as wide as the one before adds its input to its output."""
    tied: bool = False
    """Whether the second half's weights are the first half's, transposed. Widths have to be
    symmetric."""
    bias: bool = True
    """Whether layers have biases."""

    @model_validator(mode="after")
    def _fitting(self) -> NetworkSpec:
        count = len(self.hidden)
        if outside := [index for index in self.linear if not -count <= index < count]:
            raise Misfit("linear", f"no hidden layer {outside[0]}; there are {count}, from 0")
        if self.tied and self.hidden != self.hidden[::-1]:
            raise Misfit("tied", f"widths have to be symmetric, and {self.hidden} are not")
        if self.tied and count % 2 == 0:
            raise Misfit("tied", f"needs an odd number of hidden layers, not {count}")
        if self.residual and all(a != b for a, b in pairwise(self.hidden)):
            raise Misfit("residual", "no two hidden layers in a row are equally wide")
        return self


class DataSpec(Section):
    """Where the examples come from."""

    name: DataName | None = None
    """A data set that the program knows: see ``kfgn data list``."""
    table: TableName | None = None
    """Of ``uci``: the table, as ``concrete``."""
    file: str | None = None
    """Or a NumPy file (.npz), relative to the spec, without pickled objects."""
    arrays: list[str] = Field([])
    """Which of the file's arrays, in the order of the loss's inputs; all by default."""
    examples: Count | None = None
    """Train on the first so many; all by default."""
    standardise: bool = False
    """Whether inputs, and targets that are no labels, get mean 0 and variance 1."""

    @model_validator(mode="after")
    def _one_source(self) -> DataSpec:
        if (self.name is None) == (self.file is None):
            raise ValueError("give either name or file")
        if (self.table is not None) != (self.name == "uci"):
            raise Misfit("table", 'belongs to name = "uci", which needs it')
        if self.arrays and self.file is None:
            raise Misfit("arrays", "belongs to file")
        return self


class MethodSpec(Section):
    """The optimiser. A string stands for its name."""

    name: MethodName = "kfra"
    """Of the curvature, or of a first-order rule (from pytensor-ml)."""
    samples: Count = 1
    """Of kfac: draws of the targets an example."""
    rate: Positive = 1e-3
    """Of first-order rules: the step length."""
    halve_every: Count | None = None
    """Of first-order rules: updates after which the rate is halved, again and again."""

    @model_validator(mode="after")
    def _of_use(self) -> MethodSpec:
        if self.name != "kfac":
            self.without_effect(f"on {self.name}, which draws nothing", "samples")
        if not self.first_order:
            self.without_effect(f"on {self.name}: see step", "rate", "halve_every")
        return self

    @property
    def first_order(self) -> bool:
        """Whether it is a rule that uses gradients alone."""
        return self.name in ("sgd", "momentum", "nesterov", "adam")


class DampingSpec(Section):
    """What is added to the curvature: lambda, and gamma for the factors."""

    rule: Literal["levenberg-marquardt", "constant"] = "levenberg-marquardt"
    """Adapted by the reduction ratio, or always the same."""
    value: Positive = 1e-3
    """Of the constant rule: lambda, in units of the loss's curvature."""
    initial: Positive | None = None
    """Of Levenberg-Marquardt: the first lambda; by default relative to the mean curvature."""
    every: Count = 5
    """Of Levenberg-Marquardt: updates between adaptations, T1."""
    gamma: Literal["tied", "search"] = "tied"
    """sqrt(lambda + eta), or the best of three every ``gamma_every`` updates."""
    gamma_every: Count = 20
    """T2, the period of the search."""

    @model_validator(mode="after")
    def _of_use(self) -> DampingSpec:
        if self.rule == "constant":
            self.without_effect("on a constant", "initial", "every")
        else:
            self.without_effect(f'with rule = "{self.rule}"', "value")
        if self.gamma == "tied":
            self.without_effect('with gamma = "tied"', "gamma_every")
        return self


class StepSpec(Section):
    """How far to go along the preconditioned gradient."""

    length: Positive | None = None
    """A constant step length; by default the exact quadratic model decides."""
    momentum: bool = True
    """Whether the last update is a direction of the quadratic model."""
    groups: Count = 2
    """Groups of consecutive layers with step lengths of their own."""
    examples: CountFromZero = 250
    """Examples of the batch that the model's curvature is taken from; 0 takes all."""

    @model_validator(mode="after")
    def _of_use(self) -> StepSpec:
        if self.length is not None:
            self.without_effect("with a constant length", "momentum", "groups", "examples")
        return self


class ScheduleSpec(Section):
    """How often curvature and inverses are computed anew, and what is averaged."""

    curvature_decay: Share = 0.8
    """Weight of the old factors in their moving average."""
    factors_every: Count = 5
    """Updates between two estimates of the factors."""
    refresh_every: Count = 10
    """Updates between two inversions, T3."""
    inverse: InverseName = "cholesky"
    """How the damped blocks are inverted."""
    average_iterates: bool = False
    """Whether an average of the parameters is kept and evaluated as well."""


class BudgetSpec(Section):
    """When training ends: at the first limit that is reached."""

    updates: Count | None = None
    """At most so many updates."""
    epochs: Positive | None = None
    """At most so many passes over the data."""
    seconds: Positive | None = None
    """At most so many seconds of stepping, over all sessions of the run."""

    @model_validator(mode="after")
    def _some_limit(self) -> BudgetSpec:
        if self.updates is None and self.epochs is None and self.seconds is None:
            raise ValueError("give updates, epochs or seconds")
        return self


class RecordSpec(Section):
    """What is written down on the way, counted in updates."""

    evaluate_every: Count | None = None
    """Between evaluations on the full training set; by default a tenth of the budget."""
    checkpoint_every: Count = 100
    """Between checkpoints; the end, and Ctrl-C, write one in any case."""
    keep: Count = 3
    """Checkpoints that are kept, the newest."""
    tensorboard: bool = False
    """Whether TensorBoard's event files are written as well."""


class GraphSpec(Section):
    """A network, or a graph of the user's, and how it is trained."""

    name: str = Field("run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)
    """Of the run's folder."""
    graph: str | None = Field(None, pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    """``package.module:function``: a function of yours, called without arguments, that returns
    loss, parameters and inputs. Instead of network and loss."""
    network: NetworkSpec | None = None
    """The network that the program builds."""
    loss: LossName | None = None
    """Of the network: Bernoulli cross-entropy from logits summed over outputs, half the squared
    error summed over outputs, or softmax cross-entropy; means over examples."""
    data: DataSpec
    """What to train on."""
    method: Annotated[
        MethodSpec, BeforeValidator(_named, json_schema_input_type=MethodSpec | MethodName)
    ] = MethodSpec()
    """The optimiser."""
    damping: DampingSpec = DampingSpec()
    """Of second-order methods."""
    step: StepSpec = StepSpec()
    """Of second-order methods."""
    schedule: ScheduleSpec = ScheduleSpec()
    """Of second-order methods."""
    l2: NotNegative = 0.0
    """eta of (eta / 2) ||theta||^2, added to the loss."""
    batch: Count = 1000
    """Examples an update."""
    budget: BudgetSpec
    """When training ends."""
    record: RecordSpec = RecordSpec()
    """What is written down."""
    backend: BackendName = "auto"
    """What compiles: auto takes JAX where it is installed, else Numba."""
    dtype: Literal["float32", "float64"] = "float32"
    """Of parameters and data."""
    unmatched: Literal["error", "gradient", "freeze"] = "error"
    """What becomes of parameters that are in no affine map."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Of weights, order of the data, and draws."""

    @model_validator(mode="after")
    def _one_network(self) -> GraphSpec:
        if (self.network is None) == (self.graph is None):
            raise ValueError("give either network or graph")
        if (self.loss is None) == (self.network is not None):
            raise Misfit("loss", "belongs to network, which needs it")
        return self

    @model_validator(mode="after")
    def _of_use(self) -> GraphSpec:
        if self.method.first_order:
            reason = f"on {self.method.name}, which uses gradients alone"
            self.without_effect(reason, "damping", "step", "schedule", "unmatched")
        elif self.network is not None and self.network.tied:
            raise Misfit(
                "network.tied",
                "second-order methods have no block for a weight of two layers; choose a "
                "first-order method",
            )
        if self.method.name == "hessianfree":
            kept = ("curvature_decay", "factors_every", "refresh_every", "inverse")
            self.schedule.without_effect("without factors", *kept, table="schedule.")
        if self.graph is not None:
            self.without_effect("on graph, which has its own", "dtype")
        return self
