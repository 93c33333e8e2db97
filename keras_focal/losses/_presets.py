"""Losses by their names in the tables of the paper."""

from typing import Any

import keras

from keras_focal._presets import LOSSES, LossTable, known_name
from keras_focal._validation.choices import check_choice
from keras_focal.gammas import FIXED, SAMPLE_DEPENDENT, SCHEDULED
from keras_focal.losses._calibration import BrierLoss, MMCELoss
from keras_focal.losses._focal import (
    BinaryFocalCrossentropy,
    CategoricalFocalCrossentropy,
    SparseCategoricalFocalCrossentropy,
)
from keras_focal.losses._smoothing import LabelSmoothingCrossentropy

_FOCAL = {
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
_OTHERS: dict[str, tuple[type, dict[str, Any]]] = {
    "Brier": (BrierLoss, {}),
    "MMCE": (MMCELoss, {}),
    "LS-0.05": (LabelSmoothingCrossentropy, {"label_smoothing": 0.05}),
}


def get(name: str, /, *, labels: str = "sparse", **kwargs: Any) -> keras.losses.Loss:
    """Return a loss by its name in the paper.

    Args:
        name: "CE" (gamma 0), "Brier", "MMCE", "LS-0.05", "FL-1", "FL-2", "FL-3", "FLSc-531",
            "FLSc-532", "FLSD-53" or "FLSD-532", in any case and with or without hyphens; `list`
            describes each. An FLSc loss starts at gamma 5 and needs `GammaScheduler(name)` in
            `fit`; it warns once if trained without it.
        labels: Kind of labels: "sparse" for ids, "categorical" for rows, or "binary". Brier, MMCE
            and LS-0.05 accept both ids and rows, but have no binary form.
        **kwargs: Arguments of the loss class other than those fixed by the name, such as
            `from_logits=True`, or `weight=8.0` for MMCE on text.

    Returns:
        A new `SparseCategoricalFocalCrossentropy`, `CategoricalFocalCrossentropy` or
        `BinaryFocalCrossentropy`; `BrierLoss`, `MMCELoss` or `LabelSmoothingCrossentropy`.

    Raises:
        ValueError: If the name or the kind of labels is unknown, or the loss has no binary form.

    Example:
        >>> import keras_focal
        >>> keras_focal.losses.get("FLSD-53", from_logits=True).gamma
        SampleDependentGamma([0.2], [5.0, 3.0])

    Source:
        Mukhoti et al., 2020, section 5.1, Tables 1 and 5.
    """
    name = known_name("name", name, (row.name for row in LOSSES))
    if name in _OTHERS:
        check_choice("labels", labels, ("sparse", "categorical"))
        cls, arguments = _OTHERS[name]
        return cls(**arguments, **kwargs)
    check_choice("labels", labels, tuple(_FOCAL))
    loss = _FOCAL[labels](gamma=_GAMMAS[name], **kwargs)
    if name in SCHEDULED and loss.gamma_state is not None:
        loss.gamma_state.unscheduled = (
            f"The loss {name!r} is being trained with gamma {loss.gamma:g} throughout. Add "
            f"keras_focal.callbacks.GammaScheduler({name!r}) to the callbacks of fit()."
        )
    return loss


def list() -> LossTable:
    """Return the losses that `get` accepts, as a table.

    Returns:
        LossTable, a tuple of `LossRow`: name, class, description, place in the paper, and the
        callback that the loss needs.

    Example:
        >>> import keras_focal
        >>> rows = keras_focal.losses.list()
        >>> [row.name for row in rows if row.callback]
        ['FLSc-531', 'FLSc-532']

    Source:
        Mukhoti et al., 2020, Tables 1 and 5.
    """
    return LOSSES
