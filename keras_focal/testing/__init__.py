"""Checks for losses, metrics and calibration maps of your own, and a comparison in ULPs.

They test the classes of this package. One of your own is checked in the same way:

>>> import keras_focal as kf
>>> kf.testing.check_loss(
...     kf.losses.SparseCategoricalFocalCrossentropy(gamma=3.0, from_logits=True),
...     [0, 1, 1], [[2.0, -1.0, 0.5], [0.0, 3.0, -2.0], [-1.5, 0.25, 1.0]]
... )

`LOSS_CHECKS`, `METRIC_CHECKS` and `MAP_CHECKS` name the checks, so that a test framework can show
each by itself.
"""

from keras_focal.testing import _run
from keras_focal.testing._run import check_loss, check_map, check_metric
from keras_focal.testing._ulp import assert_close_ulp

LOSS_CHECKS = _run.LOSS_CHECKS
"""The checks that `check_loss` runs, by the names that `only` and `expected_failures` take."""

METRIC_CHECKS = _run.METRIC_CHECKS
"""The checks that `check_metric` runs, by name."""

MAP_CHECKS = _run.MAP_CHECKS
"""The checks that `check_map` runs, by name."""

__all__ = [
    "LOSS_CHECKS",
    "MAP_CHECKS",
    "METRIC_CHECKS",
    "assert_close_ulp",
    "check_loss",
    "check_map",
    "check_metric",
]
