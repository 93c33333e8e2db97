"""Losses by the names of the paper's tables."""

from typing import Any

from keras_focal._validation import check_choice
from keras_focal.gammas import FIXED, SAMPLE_DEPENDENT, SCHEDULED
from keras_focal.losses._base import FocalLoss
from keras_focal.losses._focal import (
    BinaryFocalCrossentropy,
    CategoricalFocalCrossentropy,
    SparseCategoricalFocalCrossentropy,
)

_CLASSES = {
    "sparse": SparseCategoricalFocalCrossentropy,
    "categorical": CategoricalFocalCrossentropy,
    "binary": BinaryFocalCrossentropy,
}
_GAMMAS: dict[str, Any] = {
    "CE": 0.0,
    **FIXED,
    **{name: steps.gammas[0] for name, steps in SCHEDULED.items()},
    **{name: name for name in SAMPLE_DEPENDENT},
}


def get(name: str, /, *, labels: str = "sparse", **kwargs: Any) -> FocalLoss:
    """Return a loss by the name that the paper gives it.

    Args:
        name: "CE" (gamma 0), "FL-1", "FL-2", "FL-3", "FLSc-531", "FLSc-532", "FLSD-53" or
            "FLSD-532". An FLSc loss starts at gamma 5 and needs `GammaScheduler(name)` in `fit`.
        labels: What the labels are: "sparse" ids, "categorical" rows, or "binary".
        **kwargs: Arguments of the loss class but gamma, such as `from_logits=True`.

    Returns:
        A new `SparseCategoricalFocalCrossentropy`, `CategoricalFocalCrossentropy` or
        `BinaryFocalCrossentropy`.

    Raises:
        ValueError: If the name or the kind of labels is unknown.

    Example:
        >>> import keras_focal
        >>> keras_focal.losses.get("FLSD-53", from_logits=True).gamma
        SampleDependentGamma([0.2], [5.0, 3.0])

    Source:
        Mukhoti et al., 2020, section 5.1 and Appendix E.
    """
    check_choice("name", name, tuple(_GAMMAS))
    check_choice("labels", labels, tuple(_CLASSES))
    return _CLASSES[labels](gamma=_GAMMAS[name], **kwargs)
