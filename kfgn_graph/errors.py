"""The exceptions and the warning of the package: what is wrong, where, and the remedy."""


class KfgnError(Exception):
    """The base class of all errors that kfgn_graph raises on purpose."""


class ParameterError(KfgnError):
    """A parameter that cannot be trained: not shared, not real-valued, or not in the graph."""


class UnmatchedParameterError(KfgnError):
    """A parameter with a use that no layer pattern covers."""


class NotABatchLossError(KfgnError):
    """A loss that is not a scalar sum (or mean) of terms that each read one example."""


class CurvatureRuleNotFound(KfgnError):
    """An Op without a rule that a curvature method needs, or a loss that cannot be split."""


class BatchError(KfgnError):
    """A batch with the wrong number of arrays or examples, or with wrong shapes or dtypes."""


class BackendError(KfgnError):
    """A backend that is not installed, cannot link, or cannot compile the graph."""


class CheckpointError(KfgnError):
    """A saved state that cannot be read, or that does not fit the optimiser."""


class SpecError(KfgnError):
    """A setting with a value that is not allowed."""


class StalledTrainingWarning(UserWarning):
    """Fifty updates in a row that were skipped or rejected."""
