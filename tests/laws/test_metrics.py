"""Laws of every metric on random input: range, order, batches, merging, weights, invalid input."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from keras import ops
from laws import samples

BOUNDED = ("Error", "Metrics", "Coverage")


@st.composite
def cases(draw, values=samples.usual):
    """A metric, class ids, and logits."""
    shape = draw(st.sampled_from(samples.SHAPES))
    return (
        draw(samples.any_metric),
        draw(samples.ids(shape)),
        draw(samples.logits(shape, values)),
    )


def result(metric, *batches):
    """Return the readings of a metric of some batches (labels, logits, weights), float64."""
    metric.reset_state()
    for batch in batches:
        metric.update_state(*batch)
    found = metric.result()
    values = [found[name] for name in sorted(found)] if isinstance(found, dict) else [found]
    return np.array([float(ops.convert_to_numpy(value)) for value in values])


@given(cases(samples.finite))
def test_reading_is_finite_and_not_negative_for_finite_logits(case):
    metric, labels, z = case
    found = result(metric, (labels, z))
    found = found[~np.isnan(found)] if type(metric).__name__ == "ConfidentCoverage" else found
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    if type(metric).__name__.endswith(BOUNDED):
        assert (found <= 1 + 1e-6).all()


@given(cases(), st.randoms(use_true_random=False))
def test_order_of_predictions_does_not_matter(case, random):
    metric, labels, z = case
    order = random.sample(range(len(z)), len(z))
    found = result(metric, (labels[order], z[order]))
    np.testing.assert_allclose(found, result(metric, (labels, z)), rtol=1e-6, atol=1e-7)


@given(cases(), cases())
def test_batches_and_merged_metrics_give_what_one_batch_of_all_gives(first, second):
    metric = first[0]
    batches = [
        (labels.reshape(-1), z.reshape(-1, samples.CLASSES)) for _, labels, z in (first, second)
    ]
    whole = tuple(np.concatenate(parts) for parts in zip(*batches, strict=True))
    expected = result(metric, whole)
    np.testing.assert_allclose(result(metric, *batches), expected, rtol=1e-6, atol=1e-7)
    other = type(metric).from_config(metric.get_config())
    other.update_state(*batches[1])
    metric.reset_state()
    metric.update_state(*batches[0])
    metric.merge_state([other])
    found = metric.result()
    values = [found[name] for name in sorted(found)] if isinstance(found, dict) else [found]
    np.testing.assert_allclose([float(value) for value in values], expected, rtol=1e-6, atol=1e-7)


@given(cases(), st.integers(0, 3))
def test_weight_k_counts_a_prediction_k_times(case, k):
    metric, labels, z = case
    weights = np.ones(len(z), "float32")
    weights[-1] = k
    counts = weights.astype(int)
    if not counts.any():
        return
    copies = labels.repeat(counts, axis=0), z.repeat(counts, axis=0)
    found = result(metric, (labels, z, weights))
    np.testing.assert_allclose(found, result(metric, copies), rtol=1e-6, atol=1e-7)


@given(cases(), st.sampled_from([np.nan, np.inf, -np.inf]))
def test_prediction_that_is_no_number_is_never_silent(case, invalid):
    """-inf for all classes, that is."""
    metric, labels, z = case
    z = z.copy()
    z[0] = invalid
    try:
        found = result(metric, (labels, z))
    except ValueError:
        return
    assert np.isnan(found).any()


@given(cases(), st.sampled_from([-1, samples.CLASSES, 2**20]))
def test_label_of_no_class_is_never_silent(case, invalid):
    metric, labels, z = case
    labels = labels.copy()
    labels.flat[0] = invalid
    try:
        found = result(metric, (labels, z))
    except ValueError:
        return
    assert np.isnan(found).any()
