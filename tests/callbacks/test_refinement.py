"""RefinementStopping: stops on the validation NLL at the best temperature, as a fit finds it.

The model is z = scale (cos(angle) x_0 + sin(angle) x_1), a logit. The labels depend on x_0 alone. A
script sets angle and scale in each epoch: the angle decides on the refinement error, the scale on
nothing but the temperature.
"""

import warnings

import keras
import numpy as np
import pytest
import reference
from backends import FEW_STEPS_EAGERLY
from keras import ops

from keras_focal.callbacks import RefinementStopping
from keras_focal.metrics import NegativeLogLikelihood, RefinementError

RNG = np.random.default_rng(0)
X = RNG.normal(0, 2, (200, 2)).astype("float32")
Y = (X[:, 0] + RNG.logistic(0, 1, 200) > 0).astype("float32")
WEIGHTS = RNG.uniform(0, 2, 200).astype("float32")
# The refinement error goes down, up, and down again; the model is ever more confident.
ANGLES = [1.2, 0.8, 0.5, 0.6, 0.7, 0.3, 0.2, 0.4, 0.4, 0.4]
SCALES = [0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]


def kernel_at(epoch):
    angle, scale = ANGLES[epoch], SCALES[epoch]
    return (scale * np.array([[np.cos(angle)], [np.sin(angle)]])).astype("float32")


def expected(epoch, weights=None):
    """Return the refinement error and the temperature of an epoch."""
    z = X.astype("float64") @ kernel_at(epoch)
    both, labels = np.concatenate([0 * z, z], 1), Y.astype(int)
    temperature = reference.best_temperature(labels, both, weights)
    return reference.nll(labels, both, temperature, weights), temperature


class Script(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        for layer in self.model._flatten_layers():
            if isinstance(layer, keras.layers.Dense):
                layer.kernel.assign(kernel_at(epoch))


def dense(**kwargs):
    return keras.layers.Dense(1, use_bias=False, **kwargs)


def compiled(model, metric=None, run_eagerly=FEW_STEPS_EAGERLY, **kwargs):
    metric = RefinementError(from_logits=True) if metric is None else metric
    kwargs = {"metrics": [metric], **kwargs}
    loss = keras.losses.BinaryCrossentropy(from_logits=getattr(metric, "from_logits", True))
    model.compile(keras.optimizers.SGD(0.0), loss, run_eagerly=run_eagerly, **kwargs)
    return model


def one_logit(**kwargs):
    return compiled(keras.Sequential([keras.Input((2,)), dense()]), **kwargs)


def fit(model, *callbacks, epochs=10, validation_data=(X, Y), **kwargs):
    callbacks = [Script(), *callbacks]
    kwargs = {"batch_size": 200, "verbose": 0, "epochs": epochs, **kwargs}
    return model.fit(
        X[:4], Y[:4], validation_data=validation_data, callbacks=callbacks, **kwargs
    ).history


def kernel(model):
    return ops.convert_to_numpy(model.weights[0])


# --- what it reads


def test_logs_hold_the_refinement_error_and_the_temperature_of_each_epoch():
    stop = RefinementStopping(patience=9)
    history = fit(one_logit(), stop, epochs=5, validation_batch_size=130)
    for epoch in range(5):
        error, temperature = expected(epoch)
        assert history["val_refinement"][epoch] == pytest.approx(error, rel=2e-6)
        assert history["val_temperature"][epoch] == pytest.approx(temperature, rel=5e-5)
        assert stop.rows[epoch]["refinement"] == pytest.approx(error, rel=1e-6)
        assert stop.rows[epoch]["temperatures"] == {
            "temperature": history["val_temperature"][epoch]
        }
    assert (stop.best_epoch, stop.best, stop.wait) == (2, stop.rows[2]["refinement"], 2)
    assert stop.stopped_epoch is None


def test_weights_of_the_validation_data_count():
    metric = RefinementError(from_logits=True)
    model = one_logit(metrics=None, weighted_metrics=[metric])
    stop = RefinementStopping(patience=9)
    fit(model, stop, epochs=1, validation_data=(X, Y, WEIGHTS))
    assert stop.best == pytest.approx(expected(0, WEIGHTS)[0], rel=1e-6)
    assert stop.rows[0]["temperatures"]["temperature"] == pytest.approx(
        expected(0, WEIGHTS)[1], rel=5e-5
    )


def test_probabilities_of_a_model_that_ends_in_a_sigmoid_are_read_as_such():
    model = keras.Sequential([keras.Input((2,)), dense(activation="sigmoid")])
    stop = RefinementStopping(patience=9)
    fit(compiled(model, RefinementError()), stop, epochs=2)
    assert stop.rows[1]["refinement"] == pytest.approx(expected(1)[0], rel=1e-5)


def test_softmax_and_an_ignored_class_are_read_as_such():
    inputs = keras.Input((2,))
    logit = dense()(inputs)
    outputs = keras.layers.Softmax()(keras.layers.Concatenate()([0.0 * logit, logit]))
    model = keras.Model(inputs, outputs)
    loss = keras.losses.SparseCategoricalCrossentropy(ignore_class=2)
    model.compile(
        keras.optimizers.SGD(0.0),
        loss,
        metrics=[RefinementError(ignore_class=2)],
        run_eagerly=FEW_STEPS_EAGERLY,
    )
    x, y = np.concatenate([X, 9 * X[:50]]), np.concatenate([Y, np.full(50, 2.0)])
    stop = RefinementStopping()
    fit(model, stop, epochs=1, validation_data=(x, y))
    assert stop.best == pytest.approx(expected(0)[0], rel=1e-5)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.logit = dense()

    def call(self, x):
        return self.logit(x)


class OwnMetrics(Subclassed):
    @property
    def metrics(self):
        return [one for one in super().metrics if one.name == "compile_metrics"]


def nested():
    inputs = keras.Input((2,))
    return keras.Model(inputs, keras.Sequential([keras.Input((2,)), dense()])(inputs))


@pytest.mark.parametrize(
    "kind",
    [OwnMetrics, *(pytest.param(kind, marks=pytest.mark.nightly) for kind in (Subclassed, nested))],
)
def test_every_kind_of_model_is_stopped_and_restored(kind):
    model = kind()
    model(X[:1])
    compiled(model, run_eagerly=False)
    stop = RefinementStopping(patience=1)
    history = fit(model, stop, epochs=6)
    assert len(history["val_refinement"]) == 4
    assert stop.rows[3]["refinement"] == pytest.approx(expected(3)[0], rel=1e-6)
    np.testing.assert_array_equal(kernel(model), kernel_at(2))


def test_several_outputs_are_summed_each_at_its_temperature():
    inputs = keras.Input((2,))
    outputs = {name: dense(name=name)(inputs) for name in "ab"}
    model = keras.Model(inputs, outputs)
    loss = {name: keras.losses.BinaryCrossentropy(from_logits=True) for name in "ab"}
    metric = {name: [RefinementError(from_logits=True)] for name in "ab"}
    model.compile(keras.optimizers.SGD(0.0), loss, metrics=metric, run_eagerly=FEW_STEPS_EAGERLY)
    y = {"a": Y, "b": 1 - Y}
    both, only_a = RefinementStopping(9), RefinementStopping(9, metric="a_refinement")
    plateau = keras.callbacks.ReduceLROnPlateau("val_refinement", min_delta=0)
    history = model.fit(
        X[:4],
        {name: part[:4] for name, part in y.items()},
        validation_data=(X, y),
        batch_size=200,
        callbacks=[Script(), both, only_a, plateau],
        verbose=0,
    ).history
    error, temperature = expected(0)
    assert history["val_a_refinement"][0] == pytest.approx(error, rel=2e-6)
    assert history["val_a_temperature"][0] == pytest.approx(temperature, rel=1e-4)
    # What says the opposite of the truth says nothing at a temperature > 0.
    assert history["val_b_temperature"] == [20.0]
    total = history["val_a_refinement"][0] + history["val_b_refinement"][0]
    assert history["val_refinement"][0] == pytest.approx(total, rel=1e-6)
    assert both.best == pytest.approx(total, rel=1e-6)
    assert only_a.best == pytest.approx(error, rel=1e-6)
    assert plateau.best == history["val_refinement"][0]


# --- when it stops


@pytest.fixture(scope="module")
def model():
    # Many epochs take longer than compiling one does.
    return one_logit(run_eagerly=False)


@pytest.fixture(scope="module")
def errors(model):
    return fit(model, RefinementStopping(patience=20))["val_refinement"]


def test_epoch_may_end_without_logs(model):
    callback = RefinementStopping(patience=20)
    fit(model, callback)
    callback.on_epoch_end(callback.rows[-1]["epoch"])
    assert callback.stopped_epoch is None


def replayed(callback, model, errors):
    """Show a callback the refinement error of each epoch until it stops; return their number."""
    callback.set_model(model)
    model.stop_training = False
    callback.on_train_begin()
    for epoch, error in enumerate(errors):
        model.layers[0].kernel.assign(kernel_at(epoch))
        callback.on_epoch_end(epoch, {"val_refinement": error})
        if model.stop_training:
            break
    callback.on_train_end()
    return epoch + 1


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"patience": 2, "restore_best_weights": False},
        {"patience": 2, "start_from_epoch": 4, "min_delta": 0.01},
        *(
            pytest.param(arguments, marks=pytest.mark.nightly)
            for arguments in (
                {"patience": 1},
                {"patience": 3},
                {"patience": 2, "min_delta": 0.03},
                {"patience": 1, "start_from_epoch": 3},
                {"patience": 20},
            )
        ),
    ],
    ids=str,
)
def test_it_stops_and_restores_as_early_stopping_on_its_value_does(arguments, model, errors):
    arguments = {"restore_best_weights": True, **arguments}
    mine = RefinementStopping(**arguments)
    history = fit(model, mine)
    weights = kernel(model)
    theirs = keras.callbacks.EarlyStopping("val_refinement", **arguments)
    assert len(history["loss"]) == replayed(theirs, model, errors)
    np.testing.assert_array_equal(weights, kernel(model))
    assert mine.best_epoch == theirs.best_epoch
    assert mine.best == pytest.approx(theirs.best, rel=1e-6)
    assert mine.wait == theirs.wait
    assert (mine.stopped_epoch or 0) == theirs.stopped_epoch


def test_confidence_that_grows_does_not_stop_it(model):
    stop = RefinementStopping(patience=3)
    history = fit(model, stop)
    assert np.argmin(history["val_loss"]) < 5
    assert stop.best_epoch == 6
    # Used again, it begins anew.
    assert len(fit(model, stop, epochs=2)["loss"]) == 2
    assert stop.best_epoch == 1


def test_nan_is_no_improvement():
    x = X.copy()
    x[0, 0] = np.nan
    model = one_logit(metric=RefinementError(from_logits=True, ignore_class=9), run_eagerly=False)
    stop = RefinementStopping(patience=2)
    history = fit(model, stop, validation_data=(x, Y))
    assert np.isnan(history["val_refinement"] + history["val_temperature"]).all()
    assert (len(history["loss"]), stop.best_epoch) == (2, None)
    np.testing.assert_array_equal(kernel(model), kernel_at(1))


def test_verbose_says_what_keras_says(model, capsys):
    fit(model, RefinementStopping(patience=1, verbose=1))
    mine = capsys.readouterr().out
    assert mine == (
        "Epoch 4: early stopping\nRestoring model weights from the end of the best epoch: 3.\n"
    )


@pytest.mark.nightly
@pytest.mark.parametrize("is_first", [True, False])
def test_other_callbacks_monitor_it_wherever_they_are_listed(is_first, model, tmp_path):
    path = tmp_path / "model.weights.h5"
    plateau = keras.callbacks.ReduceLROnPlateau("val_refinement", patience=1, min_delta=0)
    checkpoint = keras.callbacks.ModelCheckpoint(
        path, "val_refinement", save_best_only=True, save_weights_only=True
    )
    others, stop = [plateau, checkpoint], RefinementStopping(patience=9)
    fit(model, *([*others, stop] if is_first else [stop, *others]), epochs=5)
    assert plateau.best == pytest.approx(stop.best, rel=1e-6)
    model.load_weights(path)
    np.testing.assert_array_equal(kernel(model), kernel_at(2))


# --- what it leaves alone, and bad input


def test_evaluate_is_no_epoch(model):
    stop = RefinementStopping(patience=9)
    fit(model, stop, epochs=1)
    rows = list(stop.rows)
    logs = model.evaluate(X, Y, verbose=0, return_dict=True, callbacks=[stop])
    assert {*logs} == {"loss", "refinement"}
    assert stop.rows == rows


def test_epochs_without_validation_are_left_out(model):
    stop = RefinementStopping()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        history = fit(model, stop, validation_freq=2)
    assert any("found no validation predictions" in str(one.message) for one in caught)
    # Angles 0.8, 0.6, 0.3, 0.4: the last of them is worse.
    assert [row["epoch"] for row in stop.rows] == [1, 3, 5, 7]
    assert len(history["loss"]) == 8


def test_model_without_the_metric_is_refused():
    model = one_logit(metric=NegativeLogLikelihood(from_logits=True))
    with pytest.raises(ValueError, match=r"RefinementError among.*Received: none. Add metrics="):
        fit(model, RefinementStopping())


def test_metric_of_an_unknown_name_is_refused_and_the_known_listed(model):
    with pytest.raises(ValueError, match=r"named 'mine'. Received: 'refinement'. Choose one"):
        fit(model, RefinementStopping(metric="mine"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"patience": -1}, r"`patience` must be a whole number >= 0. Received: patience=-1"),
        ({"patience": 1.5}, r"`patience` must be a whole number >= 0. Received: patience=1.5"),
        ({"min_delta": -0.1}, r"`min_delta` must be a finite number >= 0"),
        ({"min_delta": np.nan}, r"`min_delta` must be a finite number >= 0"),
        ({"start_from_epoch": "3"}, r"`start_from_epoch` must be a whole number >= 0"),
    ],
    ids=str,
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        RefinementStopping(**arguments)
