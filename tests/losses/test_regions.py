"""Losses of regions measure the batch or each image, without the pixels of the ignored class."""

import numpy as np
import pytest
import reference
from backends import to_numpy

from keras_focal import losses

LABELS = np.array([[0, 1, 9, 1], [1, 0, 0, 9]])
LOGITS = np.random.default_rng(0).normal(0, 2, (2, 4, 2)).astype("float32")
KEPT = LABELS != 9
LOSSES = {
    "focal tversky": (losses.FocalTversky, reference.focal_tversky),
    "unified": (losses.UnifiedFocalLoss, reference.unified_focal),
}
every_loss = pytest.mark.parametrize("name", LOSSES)


@every_loss
def test_each_image_is_measured_over_its_own_pixels(name):
    cls, expected = LOSSES[name]
    loss = cls(per_sample=True, from_logits=True, ignore_class=9, reduction=None)
    values = to_numpy(loss(LABELS, LOGITS))
    for value, y, z, kept in zip(values, LABELS, LOGITS, KEPT, strict=True):
        np.testing.assert_allclose(value[kept], expected(y[kept], z[kept]), rtol=1e-5)
        np.testing.assert_array_equal(value[~kept], 0.0)


@every_loss
def test_the_batch_is_measured_as_one(name):
    cls, expected = LOSSES[name]
    value = cls(from_logits=True, ignore_class=9)(LABELS, LOGITS)
    assert float(value) == pytest.approx(np.mean(expected(LABELS[KEPT], LOGITS[KEPT])), rel=1e-5)
