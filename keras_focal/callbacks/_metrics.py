"""The metrics of this package in a model."""

import keras

from keras_focal.metrics import PredictionMetric


def metrics_of(model: keras.Model) -> dict[str, PredictionMetric]:
    """Return the metrics of this package in a model, by their names in the logs.

    With several outputs, Keras prefixes the name of the metric with that of the output.
    """
    found: dict[str, PredictionMetric] = {}
    for metric in model.metrics:
        found |= {
            name: one for name, one in _named(metric).items() if isinstance(one, PredictionMetric)
        }
    return found


def _named(metric: keras.metrics.Metric) -> dict[str, keras.metrics.Metric]:
    """Return a metric by its name, or those in the container of compiled metrics by theirs."""
    inner = getattr(metric, "metrics", None)
    if inner is None:
        return {metric.name: metric}
    # The results of the container are in the order of its metrics, under their names in the logs.
    names = list(metric.result()) if inner else []
    return dict(zip(names, inner, strict=True))
