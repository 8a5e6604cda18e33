"""The package's own exceptions: each message says what, where, and the remedy."""


class KfgnError(Exception):
    """Base class of every error that kfgn_graph raises on purpose."""


class ParameterError(KfgnError):
    """A parameter cannot be trained: not shared, not real-valued, or not in the graph."""


class UnmatchedParameterError(KfgnError):
    """A parameter is used in a way that no layer pattern covers."""


class NotABatchLossError(KfgnError):
    """The loss is not a scalar sum (or mean) of terms that each read one example."""


class CurvatureRuleNotFound(KfgnError):
    """A method cannot carry curvature through an Op, or cannot split the loss."""


class BatchError(KfgnError):
    """A batch given to a compiled update has the wrong number, shape, dtype or size."""


class BackendError(KfgnError):
    """A backend is not installed, cannot link, or cannot compile the graph."""


class CheckpointError(KfgnError):
    """A saved state cannot be read, or does not fit the optimiser it is loaded into."""


class SpecError(KfgnError):
    """A setting has a value that is not allowed."""
