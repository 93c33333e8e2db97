"""Checks for losses, metrics and calibration maps of your own, and a comparison in ULPs.

Every class of this package passes them. A subclass is checked by two lines:

>>> import keras_focal as kf
>>> kf.testing.check_loss(
...     kf.losses.SparseCategoricalFocalCrossentropy(gamma=3.0, from_logits=True),
...     [0, 1, 1], [[2.0, -1.0, 0.5], [0.0, 3.0, -2.0], [-1.5, 0.25, 1.0]]
... )

`LOSS_CHECKS`, `METRIC_CHECKS` and `MAP_CHECKS` hold the checks by name, for a test framework that
is to show each by itself.
"""

from keras_focal.testing._run import (
    LOSS_CHECKS,
    MAP_CHECKS,
    METRIC_CHECKS,
    check_loss,
    check_map,
    check_metric,
)
from keras_focal.testing._ulp import assert_close_ulp

__all__ = [
    "LOSS_CHECKS",
    "MAP_CHECKS",
    "METRIC_CHECKS",
    "assert_close_ulp",
    "check_loss",
    "check_map",
    "check_metric",
]
