"""Random logits, labels, weights and objects for the laws."""

import numpy as np
from hypothesis import strategies as st

from keras_focal import gammas, losses, metrics

CLASSES = 3
SHAPES = [(1,), (4,), (2, 2)]
"""Few, since JAX compiles for each."""

LARGEST = 2.0**127

gamma_numbers = st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0, 5.0])
gamma_rules = st.sampled_from(
    [
        "FLSD-53",
        gammas.SampleDependentGamma([0.3, 0.6], [4.0, 1.0, 0.5]),
        gammas.ContinuousGamma(low=1.0, high=4.0),
    ]
)
any_gamma = gamma_numbers | gamma_rules


def logits(shape, values):
    """Arrays, float32, shape (*shape, CLASSES)."""
    number = int(np.prod(shape)) * CLASSES
    flat = st.lists(values, min_size=number, max_size=number)
    return flat.map(lambda drawn: np.array(drawn, "float32").reshape(*shape, CLASSES))


finite = st.floats(-LARGEST, LARGEST, width=32) | st.sampled_from(
    [0.0, -0.0, 1e-45, -1e-45, 1e38, -1e38, 88.0, -104.0]
)
"""Every finite float32, those that overflow or vanish in an exponential more often."""

whole = st.integers(-2048, 2048).map(lambda number: number / 64)
"""Multiples of 2**-6 of at most 32: sums and differences of two are exact in float32."""

usual = st.floats(-8, 8, width=32)


def ids(shape):
    """Class ids, int32, of a shape."""
    number = int(np.prod(shape))
    flat = st.lists(st.integers(0, CLASSES - 1), min_size=number, max_size=number)
    return flat.map(lambda drawn: np.array(drawn, "int32").reshape(shape))


def one_hot(labels):
    """Rows of 0 and 1, float32."""
    return np.eye(CLASSES, dtype="float32")[labels]


@st.composite
def softmax_losses(draw):
    """A loss of class ids and logits that gives a value for each row."""
    gamma = draw(any_gamma)
    made = draw(
        st.sampled_from(
            [
                (losses.SparseCategoricalFocalCrossentropy, {"gamma": gamma}),
                (losses.BrierLoss, {}),
                (losses.LabelSmoothingCrossentropy, {"label_smoothing": 0.1}),
                (losses.MarginLabelSmoothingCrossentropy, {"weight": 0.1, "margin": 1.5}),
                (losses.DualFocalCrossentropy, {"gamma": 2.0}),
                (losses.PolyLoss, {"gamma": gamma, "epsilon": 1.0}),
                (losses.FocalCalibrationLoss, {"gamma": gamma, "weight": 0.5}),
            ]
        )
    )
    cls, arguments = made
    return cls(from_logits=True, reduction=None, **arguments)


@st.composite
def output_losses(draw):
    """A loss of independent outputs, given as rows of 0 and 1, and logits."""
    gamma = draw(any_gamma)
    cls, arguments = draw(
        st.sampled_from(
            [
                (losses.BinaryFocalCrossentropy, {"gamma": gamma, "alpha": 0.25}),
                (losses.AsymmetricLoss, {"gamma_pos": 1.0, "gamma_neg": 4.0, "shift": 0.05}),
                (losses.QualityFocalCrossentropy, {"gamma": 2.0}),
                (losses.VarifocalLoss, {"gamma": 2.0, "alpha": 0.75}),
            ]
        )
    )
    return cls(from_logits=True, reduction=None, **arguments)


any_metric = st.sampled_from(
    [
        metrics.ExpectedCalibrationError(num_bins=5, from_logits=True),
        metrics.MaximumCalibrationError(num_bins=5, from_logits=True),
        metrics.AdaptiveExpectedCalibrationError(num_bins=4, from_logits=True),
        metrics.RootMeanSquareCalibrationError(num_bins=5, from_logits=True),
        metrics.ClasswiseExpectedCalibrationError(num_classes=CLASSES, from_logits=True),
        metrics.CalibrationMetrics(num_bins=5, from_logits=True),
        metrics.NegativeLogLikelihood(from_logits=True),
        metrics.BrierScore(from_logits=True),
        metrics.ConfidentCoverage(threshold=0.7, from_logits=True),
    ]
)
"""Each object is reset before use: its programs are compiled once."""
