"""What was given: arrays, batches and held-out predictions, read in one place and checked."""

from keras_focal.calibration.given._arrays import (
    NOTHING_COUNTS,
    Rows,
    as_numpy,
    flattened,
    single,
    to_numpy,
)
from keras_focal.calibration.given._batches import (
    check_batched,
    is_iterable_of_batches,
    length,
    read,
)
from keras_focal.calibration.given._declared import PER_LABEL, Declared
from keras_focal.calibration.given._held_out import LOWEST, HeldOut, as_logits
from keras_focal.calibration.given._predictions import (
    check_predictions,
    count_rounded,
    look_like_probabilities,
    refuse_as_logits,
    warn_of_rounded,
)
from keras_focal.calibration.given._read import held_out_of, rows_by_label

__all__ = [
    "LOWEST",
    "NOTHING_COUNTS",
    "PER_LABEL",
    "Declared",
    "HeldOut",
    "Rows",
    "as_logits",
    "as_numpy",
    "check_batched",
    "check_predictions",
    "count_rounded",
    "flattened",
    "held_out_of",
    "is_iterable_of_batches",
    "length",
    "look_like_probabilities",
    "read",
    "refuse_as_logits",
    "rows_by_label",
    "single",
    "to_numpy",
    "warn_of_rounded",
]
