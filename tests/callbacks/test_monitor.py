"""CalibrationMonitor: rows, pictures and events hold what the metrics held, epoch by epoch."""

import csv

import keras
import numpy as np
import pytest
import reference
from backends import FEW_STEPS_EAGERLY
from keras import ops

from keras_focal import callbacks, metrics, plotting

CLASSES = 4


@pytest.fixture(autouse=True)
def _close_figures():
    from matplotlib import pyplot as plt

    before = plt.get_fignums()
    yield
    assert plt.get_fignums() == before


@pytest.fixture
def data(rng):
    x = rng.normal(0, 1, (96, 3)).astype("float32")
    return x, rng.integers(0, CLASSES, 96), x[:50] + 1, rng.integers(0, CLASSES, 50)


def model_with(*chosen, rate=0.1, run_eagerly=FEW_STEPS_EAGERLY):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(CLASSES)])
    model.compile(
        keras.optimizers.SGD(rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy", *chosen],
        run_eagerly=run_eagerly,
    )
    return model


def fitted(model, data, *monitors, validated=True, **how):
    x, y, x_val, y_val = data
    pair = (x_val, y_val) if validated else None
    how = {"epochs": 2, "batch_size": 50, "verbose": 0, **how}
    return model.fit(x, y, validation_data=pair, callbacks=list(monitors), **how)


def table(folder):
    with (folder / "calibration.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_rows_hold_the_readings_of_the_logs(data, tmp_path):
    model = model_with(
        metrics.CalibrationMetrics(from_logits=True),
        metrics.NegativeLogLikelihood(True),
    )
    monitor = callbacks.CalibrationMonitor(tmp_path / "new" / "folder")
    history = fitted(model, data, monitor, epochs=3).history
    assert [(row["epoch"], row["data"]) for row in monitor.rows] == [
        (epoch, part) for epoch in range(3) for part in ("training", "validation")
    ]
    for row in monitor.rows:
        prefix = "val_" if row["data"] == "validation" else ""
        for name in ("calibration_ece", "calibration_ada_ece", "calibration_mce", "nll"):
            assert row[name] == pytest.approx(history[prefix + name][row["epoch"]], rel=1e-5)
    kernel = ops.convert_to_numpy(model.layers[-1].kernel)
    assert monitor.rows[-1]["last_kernel_norm"] == pytest.approx(np.linalg.norm(kernel), rel=1e-5)


def test_validation_row_is_the_oracle_s(data, tmp_path):
    model = model_with(metrics.ECE(from_logits=True), run_eagerly=False)
    monitor = callbacks.CalibrationMonitor(tmp_path)
    fitted(model, data, monitor, epochs=1)
    p = reference.softmax64(model.predict(data[2], verbose=0))
    expected = reference.ece(*reference.top_label(data[3], p))
    assert monitor.rows[-1]["ece"] == pytest.approx(expected, abs=1e-6)
    assert monitor.rows[-1]["ece_invalid"] == 0.0


ALL = {
    "cal_ece",
    "cal_ada_ece",
    "cal_error",
    "nll",
    "by_nll_right",
    "by_nll_wrong",
    "by_entropy_right",
    "by_entropy_wrong",
    "logit_norm",
    "last_kernel_norm",
}


@pytest.mark.nightly
def test_all_that_the_paper_draws_lands_in_the_file_and_in_the_events(data, tmp_path):
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    model = model_with(
        metrics.CalibrationMetrics(
            from_logits=True, readings=["ece", "ada_ece", "error"], name="cal"
        ),
        metrics.NegativeLogLikelihood(from_logits=True),
        metrics.ScoresByCorrectness(from_logits=True, name="by"),
        metrics.LogitNorm(),
    )
    monitor = callbacks.CalibrationMonitor(tmp_path, tensorboard=True)
    fitted(model, data, monitor)
    events = loader.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    rows = table(tmp_path)
    assert len(rows) == 4
    assert {name for name in rows[0] if not name.endswith("_invalid")} == {"epoch", "data", *ALL}
    for name in ALL:
        for part in ("training", "validation"):
            written = [float(row[name]) for row in rows if row["data"] == part]
            values = [event.value for event in events.Scalars(f"{part}/{name}")]
            assert values == pytest.approx(written)
            assert all(value > 0 for value in values)


def test_last_row_is_the_oracle_s(data, tmp_path):
    model = model_with(
        metrics.ScoresByCorrectness(from_logits=True, name="by"), metrics.LogitNorm()
    )
    monitor = callbacks.CalibrationMonitor(tmp_path)
    fitted(model, data, monitor)
    logits, y = model.predict(data[2], verbose=0).astype("float64"), data[3]
    p = reference.softmax64(logits)
    wrong = p.argmax(-1) != y
    expected = {
        "by_nll_wrong": -np.log(p[np.arange(len(y)), y])[wrong].mean(),
        "by_entropy_wrong": -(p * np.log(p)).sum(-1)[wrong].mean(),
        "logit_norm": np.linalg.norm(logits, axis=-1).mean(),
        "last_kernel_norm": np.linalg.norm(ops.convert_to_numpy(model.layers[-1].kernel)),
    }
    got = {name: monitor.rows[-1][name] for name in expected}
    assert got == pytest.approx(expected, rel=1e-5)


def test_norm_of_features_comes_from_an_output_of_features(data, tmp_path):
    x, y, x_val, y_val = data
    inputs = keras.Input((3,))
    features = keras.layers.Dense(6, "relu", name="features")(inputs)
    logits = keras.layers.Dense(CLASSES, name="logits")(features)
    model = keras.Model(inputs, {"logits": logits, "features": features})
    model.compile(
        "sgd",
        {"logits": keras.losses.SparseCategoricalCrossentropy(from_logits=True)},
        metrics={
            "logits": [metrics.ECE(from_logits=True)],
            "features": [metrics.LogitNorm(name="feature_norm")],
        },
        run_eagerly=FEW_STEPS_EAGERLY,
    )
    targets, held_out = ({"logits": part, "features": part} for part in (y, y_val))
    monitor = callbacks.CalibrationMonitor(tmp_path)
    how = {"batch_size": 50, "verbose": 0}
    model.fit(x, targets, validation_data=(x_val, held_out), callbacks=[monitor], **how)
    expected = np.linalg.norm(model.predict(x_val, verbose=0)["features"], axis=-1).mean()
    assert monitor.rows[-1]["features_feature_norm"] == pytest.approx(expected, rel=1e-5)
    assert 0 < monitor.rows[-1]["logits_ece"] < 1


def test_file_holds_the_rows(data, tmp_path):
    monitor = callbacks.CalibrationMonitor(tmp_path)
    fitted(model_with(metrics.ECE(from_logits=True)), data, monitor)
    read = table(tmp_path)
    assert [int(row["epoch"]) for row in read] == [0, 0, 1, 1]
    for row, mine in zip(read, monitor.rows, strict=True):
        assert float(row["ece"]) == mine["ece"]
    assert [path.name for path in tmp_path.iterdir()] == ["calibration.csv"]


def test_without_validation_only_training_is_written(data, tmp_path):
    monitor = callbacks.CalibrationMonitor(tmp_path)
    history = fitted(model_with(metrics.ECE(from_logits=True)), data, monitor, validated=False)
    assert [row["data"] for row in monitor.rows] == ["training"] * 2
    values = [row["ece"] for row in monitor.rows]
    assert values == pytest.approx(history.history["ece"], rel=1e-5)


@pytest.mark.parametrize(
    ("every", "epochs"),
    [
        (2, [1, 3, 4]),
        pytest.param(1, [0, 1, 2, 3, 4], marks=pytest.mark.nightly),
        pytest.param(9, [4], marks=pytest.mark.nightly),
    ],
)
def test_chosen_epochs_and_the_last_are_written(every, epochs, data, tmp_path):
    monitor = callbacks.CalibrationMonitor(tmp_path, every=every)
    fitted(model_with(metrics.ECE(from_logits=True)), data, monitor, epochs=5)
    assert sorted({row["epoch"] for row in monitor.rows}) == epochs


def test_epochs_without_validation_keep_their_training_row(data, tmp_path):
    monitor = callbacks.CalibrationMonitor(tmp_path)
    fitted(model_with(metrics.ECE(from_logits=True)), data, monitor, epochs=2, validation_freq=2)
    assert [(row["epoch"], row["data"]) for row in monitor.rows] == [
        (0, "training"),
        (1, "training"),
        (1, "validation"),
    ]


def test_resumed_run_keeps_the_epochs_before_and_replaces_the_others(data, tmp_path):
    model = model_with(metrics.ECE(from_logits=True))
    fitted(model, data, callbacks.CalibrationMonitor(tmp_path), epochs=4)
    before = table(tmp_path)
    monitor = callbacks.CalibrationMonitor(tmp_path)
    fitted(model, data, monitor, epochs=3, initial_epoch=2)
    after = table(tmp_path)
    assert after[:4] == before[:4]
    assert [int(row["epoch"]) for row in after] == [0, 0, 1, 1, 2, 2]
    assert [row["epoch"] for row in monitor.rows] == [0, 0, 1, 1, 2, 2]


def test_evaluation_of_its_own_writes_nothing(data, tmp_path):
    model = model_with(metrics.ECE(from_logits=True))
    monitor = callbacks.CalibrationMonitor(tmp_path)
    fitted(model, data, monitor, epochs=1)
    model.evaluate(data[0], data[1], verbose=0, callbacks=[monitor])
    assert len(monitor.rows) == 2


def test_pictures_are_drawn_of_the_bins_of_each_metric(data, tmp_path):
    seen = []

    def picture(bins, title):
        seen.append((ops.convert_to_numpy(bins.count).sum(), title))
        return plotting.reliability_diagram(bins=bins, title=title)

    model = model_with(
        metrics.CalibrationMetrics(from_logits=True),
        metrics.AdaECE(from_logits=True),
        metrics.BrierScore(from_logits=True),
    )
    monitor = callbacks.CalibrationMonitor(
        tmp_path, pictures=[picture, plotting.confidence_histogram]
    )
    fitted(model, data, monitor, epochs=1)
    assert seen == [(96, "training, epoch 0"), (50, "validation, epoch 0")]
    names = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert names == [
        f"{kind}_calibration_{part}_0000.png"
        for kind in ("confidence_histogram", "picture")
        for part in ("training", "validation")
    ]
    for path in (tmp_path / "pictures").iterdir():
        assert path.read_bytes().startswith(b"\x89PNG")


def test_one_picture_needs_no_brackets(data, tmp_path):
    monitor = callbacks.CalibrationMonitor(tmp_path, pictures=plotting.reliability_diagram)
    fitted(model_with(metrics.ECE(from_logits=True)), data, monitor, epochs=1, validated=False)
    assert len(list((tmp_path / "pictures").iterdir())) == 1


def test_events_hold_the_rows_and_the_pictures(data, tmp_path):
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    monitor = callbacks.CalibrationMonitor(
        tmp_path, pictures=plotting.reliability_diagram, tensorboard=True
    )
    fitted(model_with(metrics.ECE(from_logits=True)), data, monitor)
    events = loader.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    for part in ("training", "validation"):
        values = [(event.step, event.value) for event in events.Scalars(f"{part}/ece")]
        rows = [row for row in monitor.rows if row["data"] == part]
        assert values == [(row["epoch"], pytest.approx(row["ece"])) for row in rows]
        images = events.Images(f"reliability_diagram_ece_{part}")
        assert [image.step for image in images] == [0, 1]
        assert images[0].width > 100
        name = f"reliability_diagram_ece_{part}_0000.png"
        assert images[0].encoded_image_string == (tmp_path / "pictures" / name).read_bytes()


def test_model_without_a_metric_to_read_raises(data, tmp_path):
    monitor = callbacks.CalibrationMonitor(tmp_path)
    with pytest.raises(ValueError, match="`model` must be compiled with a metric of keras_focal"):
        fitted(model_with(), data, monitor)


def test_pictures_without_bins_raise(data, tmp_path):
    monitor = callbacks.CalibrationMonitor(tmp_path, pictures=plotting.reliability_diagram)
    with pytest.raises(ValueError, match=r"`pictures` need a metric with bins.*AdaptiveExpected"):
        fitted(model_with(metrics.AdaECE(from_logits=True)), data, monitor)


@pytest.mark.parametrize("every", [0, -1, 1.5, "2"])
def test_every_that_is_no_count_raises(every, tmp_path):
    with pytest.raises(ValueError, match="`every` must be a whole number >= 1"):
        callbacks.CalibrationMonitor(tmp_path, every=every)


def test_picture_that_is_no_function_raises(tmp_path):
    with pytest.raises(ValueError, match="`pictures` must be functions"):
        callbacks.CalibrationMonitor(tmp_path, pictures=["reliability_diagram"])


def test_missing_tensorboard_is_named(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer.event_file_writer", None)
    with pytest.raises(ImportError, match=r"keras_focal\[tensorboard\]"):
        callbacks.CalibrationMonitor(tmp_path, tensorboard=True)


def test_outputs_and_weighted_metrics_keep_their_readings_apart(data, tmp_path):
    x, y, x_val, y_val = data
    inputs = keras.Input((3,))
    outputs = {name: keras.layers.Dense(CLASSES, name=name)(inputs) for name in "ab"}
    model = keras.Model(inputs, outputs)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(
        "sgd",
        {"a": loss, "b": loss},
        metrics={name: [metrics.ECE(from_logits=True)] for name in "ab"},
        weighted_metrics={"b": [metrics.CalibrationMetrics(from_logits=True)]},
        run_eagerly=FEW_STEPS_EAGERLY,
    )
    monitor = callbacks.CalibrationMonitor(tmp_path)
    targets, held_out = ({"a": part, "b": part} for part in (y, y_val))
    how = {"batch_size": 50, "verbose": 0}
    model.fit(x, targets, validation_data=(x_val, held_out), callbacks=[monitor], **how)
    row = monitor.rows[-1]
    predictions = model.predict(x_val, verbose=0)
    for name in "ab":
        p = reference.softmax64(predictions[name])
        expected = reference.ece(*reference.top_label(y_val, p))
        assert row[f"{name}_ece"] == pytest.approx(expected, abs=1e-6)
    assert row["b_calibration_ece"] == pytest.approx(row["b_ece"], abs=1e-6)
    assert row["a_ece"] != row["b_ece"]


@pytest.mark.parametrize("name", ["data", "epoch", "last_kernel_norm"])
def test_metric_named_like_a_field_of_the_rows_is_refused(name, data, tmp_path):
    monitor = callbacks.CalibrationMonitor(tmp_path)
    with pytest.raises(ValueError, match=rf"`metrics` must have names.*Received: '{name}' twice"):
        fitted(model_with(metrics.ECE(from_logits=True, name=name)), data, monitor)


def test_model_without_a_kernel_has_no_norm_of_one(rng, tmp_path):
    model = keras.Sequential([keras.Input((CLASSES,)), keras.layers.BatchNormalization()])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, metrics=[metrics.ECE(from_logits=True)], run_eagerly=True)
    monitor = callbacks.CalibrationMonitor(tmp_path)
    x, y = rng.normal(size=(8, CLASSES)), rng.integers(0, CLASSES, 8)
    fitted(model, (x, y, x, y), monitor, epochs=1)
    assert all("last_kernel_norm" not in row for row in monitor.rows)
