"""The exceptions and the warnings of the package: what is wrong, where, and the remedy."""


class KfgnError(Exception):
    """The base class of all errors that kfgn_graph raises on purpose."""


class ParameterError(KfgnError):
    """A parameter that cannot be trained: not shared, not real-valued, or not in the graph.

    Also one that has been given another shape since the update was built.
    """


class UnmatchedParameterError(KfgnError):
    """A parameter with a use that no layer pattern covers."""


class NotABatchLossError(KfgnError):
    """A loss that is not a scalar sum (or mean) of terms that each read one example."""


class CurvatureRuleNotFound(KfgnError):
    """An Op without a rule that a curvature method needs, or a loss that cannot be split."""


class BatchError(KfgnError):
    """A batch with the wrong number of arrays or examples, or with wrong shapes or dtypes.

    Also one with entries that cannot be read, or with an index out of range.
    """


class BackendError(KfgnError):
    """A backend that is not installed, cannot link, or cannot compile the graph."""


class CheckpointError(KfgnError):
    """A saved state that cannot be read, that does not fit, or that has to be restored."""


class SpecError(KfgnError):
    """A setting with a value that is not allowed."""


class StalledTrainingWarning(UserWarning):
    """Fifty updates in a row that were skipped, rejected or of length 0."""


class ZeroCurvatureWarning(UserWarning):
    """A loss without curvature in its output, so that updates follow the gradient alone."""
