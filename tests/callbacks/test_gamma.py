"""The gamma that a schedule names is the gamma that compiled steps really use.

The model is one weight w = logit on the input 1 with the label 1, trained by SGD. Its path under a
sequence of gammas follows from the oracle's gradient, so the weight after every epoch shows the
gamma of the train step, and the validation loss at that weight shows the gamma of the test step.
"""

import csv
from functools import cache, partial

import keras
import numpy as np
import pytest
import reference
from backends import FEW_STEPS_EAGERLY
from keras import ops

from keras_focal.callbacks import GammaScheduler, attach
from keras_focal.gammas import SampleDependentGamma
from keras_focal.losses import BinaryFocalCrossentropy, HardExampleMining, get

BACKEND = keras.backend.backend()
DOUBLING = (1.0, 2.0, 4.0, 8.0)
LEARNING_RATE = 0.5
START = -1.0
# Some float32 roundings of a weight that begins at -1; another gamma moves it by 1e-2 and more.
ATOL = 1e-6
# The accuracy that the losses promise.
RTOL = 3e-6

compiled = pytest.mark.skipif(
    BACKEND == "torch", reason="Keras on torch has no XLA, no graph and one step per execution"
)


@cache
def oracle(gammas, start=START, steps=1):
    """Return the weight and the loss after each epoch of `steps` steps."""
    weight, weights, losses = start, [], []
    for gamma in gammas:
        for _ in range(steps):
            weight -= LEARNING_RATE * reference.binary_focal(1.0, weight, gamma)[1]
        weights.append(weight)
        losses.append(reference.binary_focal(1.0, weight, gamma)[0])
    return weights, losses


def logit_layer(name="logit", start=START):
    return keras.layers.Dense(
        1, use_bias=False, kernel_initializer=keras.initializers.Constant(start), name=name
    )


def focal(gamma=0.0, **kwargs):
    return BinaryFocalCrossentropy(gamma, from_logits=True, **kwargs)


def logit_model(loss=None, model_class=keras.Sequential, **kwargs):
    model = model_class([keras.Input((1,)), logit_layer()])
    compile_model(model, focal() if loss is None else loss, **kwargs)
    return model


def compile_model(model, loss, **kwargs):
    model.compile(keras.optimizers.SGD(LEARNING_RATE), loss, **kwargs)


# Where the matter is what a callback reads, writes or plans: a few steps take less than compiling.
eager_model = partial(logit_model, run_eagerly=True)


class Weights(keras.callbacks.Callback):
    """Note every kernel of the model after each epoch."""

    def __init__(self):
        super().__init__()
        self.path = []

    def on_epoch_end(self, epoch, logs=None):
        self.path.append([ops.convert_to_numpy(w).item() for w in self.model.weights])


def train(model, schedule=lambda epoch: 2.0**epoch, *, epochs=4, steps=1, validate=False, **kwargs):
    """Fit under a schedule, or none; return the weight after each epoch and the history."""
    x = np.ones((4 * steps, 1), "float32")
    y = keras.tree.map_structure(lambda _: x, kwargs.pop("outputs", 0))
    watch = Weights()
    if not isinstance(schedule, keras.callbacks.Callback | None):
        schedule = GammaScheduler(schedule)
    history = model.fit(
        x,
        y,
        batch_size=4,
        epochs=epochs,
        validation_data=(x, y) if validate else None,
        verbose=0,
        callbacks=[*filter(None, [schedule]), watch, *kwargs.pop("callbacks", ())],
        **kwargs,
    ).history
    path = np.asarray(watch.path)
    return path[:, 0] if path.shape[-1] == 1 else path, history


def assert_follows(model, gammas=DOUBLING, schedule=None, *, steps=1, start=START):
    """Train, and hold every weight and validation loss against the oracle."""
    schedule = gammas.__getitem__ if schedule is None else schedule
    path, history = train(model, schedule, epochs=len(gammas), steps=steps, validate=True)
    weights, losses = oracle(tuple(gammas), start, steps)
    assert_close(path, weights)
    np.testing.assert_allclose(history["val_loss"], losses, rtol=RTOL)


def assert_close(path, weights):
    np.testing.assert_allclose(path, weights, rtol=0, atol=ATOL)


# --- the harness itself


def test_harness_tells_a_stale_gamma_from_a_scheduled_one():
    path, _ = train(logit_model(focal(1.0)), None)
    assert_close(path, oracle((1.0,) * 4)[0])
    with pytest.raises(AssertionError):
        assert_close(path, oracle(DOUBLING)[0])


# --- compiled steps


def test_each_epoch_uses_its_gamma_whatever_the_loss_began_with():
    assert_follows(logit_model(focal(8.0)))


@compiled
@pytest.mark.parametrize("jit_compile", [True, pytest.param(False, marks=pytest.mark.nightly)])
def test_each_epoch_uses_its_gamma_with_and_without_xla(jit_compile):
    assert_follows(logit_model(jit_compile=jit_compile))


@compiled
@pytest.mark.parametrize("jit_compile", [pytest.param(True, marks=pytest.mark.nightly), False])
def test_each_epoch_uses_its_gamma_with_several_steps_per_execution(jit_compile):
    model = logit_model(jit_compile=jit_compile, steps_per_execution=2)
    assert_follows(model, steps=4)


def test_each_epoch_uses_its_gamma_when_run_eagerly():
    assert_follows(eager_model())


def test_gamma_that_returns_to_an_earlier_value_is_followed():
    assert_follows(logit_model(), (5.0, 0.0, 5.0, 0.0))


@pytest.mark.parametrize("wrap", [lambda loss: loss, HardExampleMining], ids=["bare", "mined"])
def test_sparse_loss_follows_the_schedule(wrap):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(3)])
    compile_model(model, wrap(get("FLSc-531", from_logits=True)))
    x, y = np.ones((1, 1), "float32"), np.zeros((1,), "int32")
    model.fit(x, y, epochs=2, verbose=0, callbacks=[GammaScheduler({0: 5.0, 1: 1.0})])
    logits = ops.convert_to_numpy(model(x))[0]
    expected, _ = reference.sparse_focal(0, logits, 1.0)
    assert model.evaluate(x, y, verbose=0) == pytest.approx(expected, rel=RTOL)


class CountingLoss(BinaryFocalCrossentropy):
    """Count how often Python runs the loss: once per trace, or per step where nothing is traced."""

    calls = 0

    def of_outputs(self, targets, logits):
        self.calls += 1
        return super().of_outputs(targets, logits)


def test_scheduled_run_traces_the_loss_as_often_as_an_unscheduled_one():
    counts = []
    for schedule in (None, lambda epoch: 2.0**epoch):
        loss = CountingLoss(0.0, from_logits=True)
        train(logit_model(loss), schedule, epochs=5, validate=True)
        counts.append(loss.calls)
    assert counts[0] == counts[1] > 0


@pytest.mark.nightly
@compiled
def test_number_of_traces_does_not_grow_with_the_epochs():
    loss = CountingLoss(0.0, from_logits=True)
    model = logit_model(loss)
    train(model, epochs=2, validate=True)
    calls = loss.calls
    assert calls > 0
    train(model, epochs=7, validate=True)
    assert loss.calls == calls


# --- attaching


def test_schedule_is_followed_after_an_earlier_fit_without_it():
    model = logit_model(focal(3.0))
    path, _ = train(model, None, epochs=2)
    assert_close(path, oracle((3.0, 3.0))[0])
    path, _ = train(model)
    assert_close(path, oracle((3.0, 3.0, *DOUBLING))[0][2:])


def test_schedule_is_followed_after_an_earlier_evaluate():
    model = logit_model(focal(3.0))
    x = np.ones((4, 1), "float32")
    first = model.evaluate(x, x, verbose=0)
    assert first == pytest.approx(reference.binary_focal(1.0, START, 3.0)[0], rel=RTOL)
    assert_follows(model)
    assert model.evaluate(x, x, verbose=0) == pytest.approx(oracle(DOUBLING)[1][-1], rel=RTOL)


def test_second_fit_with_a_new_callback_follows_the_new_schedule():
    model = logit_model()
    train(model)
    path, _ = train(model, {0: 3.0, 1: 0.0}, epochs=2)
    assert_close(path, oracle((*DOUBLING, 3.0, 0.0))[0][4:])


def test_one_callback_serves_two_fits_and_two_models():
    callback = GammaScheduler({0: 5.0, 1: 1.0})
    model = logit_model()
    train(model, callback, epochs=2)
    path, _ = train(model, callback, epochs=2)
    assert_close(path, oracle((5.0, 1.0, 5.0, 1.0))[0][2:])
    assert_close(train(logit_model(), callback, epochs=2)[0], oracle((5.0, 1.0))[0])


def test_model_compiled_again_with_a_new_loss_follows_the_schedule():
    model = logit_model()
    train(model)
    compile_model(model, focal())
    path, _ = train(model)
    assert_close(path, oracle(DOUBLING * 2)[0][4:])


def test_attaching_again_does_not_grow_the_metrics():
    model = logit_model()
    train(model, epochs=1)
    metrics = len(model.metrics)
    train(model, epochs=1)
    model.fit(
        *(np.ones((4, 1)),) * 2, verbose=0, callbacks=[GammaScheduler({0: 1.0}) for _ in range(2)]
    )
    assert len(model.metrics) == metrics


def test_attached_model_follows_a_gamma_assigned_by_hand():
    loss = focal(1.0)
    model = logit_model(loss)
    attach(model, loss.gamma_state)
    path, _ = train(model, None, epochs=2)
    loss.gamma = 5.0
    later, _ = train(model, None, epochs=2)
    assert_close([*path, *later], oracle((1.0, 1.0, 5.0, 5.0))[0])


class OwnMetrics(keras.Sequential):
    """A model that reports its own list of metrics and so hides attached state from Keras."""

    @property
    def metrics(self):
        return [metric for metric in super().metrics if metric.name == "loss"]


def test_model_that_overrides_metrics_follows_the_schedule():
    assert_follows(logit_model(model_class=OwnMetrics))


@compiled
@pytest.mark.nightly
def test_model_that_overrides_metrics_follows_the_schedule_under_xla():
    assert_follows(logit_model(model_class=OwnMetrics, jit_compile=True), DOUBLING[:3])


# --- several outputs


def two_logits(loss, **kwargs):
    inputs = keras.Input((1,))
    outputs = {"a": logit_layer("a", -1.0)(inputs), "b": logit_layer("b", 0.25)(inputs)}
    if isinstance(loss, list):
        outputs = list(outputs.values())
    model = keras.Model(inputs, outputs)
    compile_model(model, loss, **kwargs)
    return model


@pytest.mark.parametrize("form", ["dict", "list", "shared in a dict", "shared in a list"])
def test_every_output_follows_the_schedule(form):
    losses = [focal(), focal()]
    if "shared" in form:
        losses[1] = losses[0]
    if "dict" in form:
        losses = dict(zip("ab", losses, strict=True))
    # Compiled once; of the other forms the matter is which losses are found.
    model = two_logits(losses, run_eagerly=FEW_STEPS_EAGERLY and form != "dict")
    path, history = train(model, outputs=losses, validate=True)
    a, b = oracle(DOUBLING), oracle(DOUBLING, 0.25)
    assert_close(path, np.transpose([a[0], b[0]]))
    np.testing.assert_allclose(history["val_loss"], np.add(a[1], b[1]), rtol=RTOL)


def test_only_the_focal_loss_of_a_model_is_scheduled():
    losses = {"a": focal(), "b": keras.losses.BinaryCrossentropy(from_logits=True)}
    path, _ = train(two_logits(losses, run_eagerly=True), outputs=losses)
    cross_entropy = (0.0,) * 4
    expected = [oracle(DOUBLING)[0], oracle(cross_entropy, 0.25)[0]]
    assert_close(path, np.transpose(expected))


def test_sample_dependent_gamma_beside_a_scheduled_one_is_left_alone():
    rule = SampleDependentGamma([0.01], [0.0, 3.0])
    losses = {"a": focal(), "b": focal(rule)}
    path, _ = train(two_logits(losses, run_eagerly=True), outputs=losses)
    expected = [oracle(DOUBLING)[0], oracle((3.0,) * 4, 0.25)[0]]
    assert_close(path, np.transpose(expected))


# --- replicas


TWO_EPOCHS = (2.0, 8.0)  # a replicated epoch is slow


@pytest.mark.parametrize("place", [pytest.param("inside", marks=pytest.mark.nightly), "outside"])
def test_mirrored_replicas_follow_the_schedule(mirrored, place):
    outside = focal()
    with mirrored.scope():
        model = logit_model(outside if place == "outside" else focal())
    assert_follows(model, TWO_EPOCHS)


@pytest.mark.nightly
def test_mirrored_replicas_follow_a_schedule_attached_after_an_earlier_fit(mirrored):
    with mirrored.scope():
        model = logit_model(focal(3.0))
    train(model, None, epochs=1)
    path, _ = train(model, TWO_EPOCHS.__getitem__, epochs=2)
    assert_close(path, oracle((3.0, *TWO_EPOCHS))[0][1:])


def test_data_parallel_devices_follow_the_schedule(data_parallel):
    assert_follows(logit_model())


def test_data_parallel_devices_follow_a_schedule_attached_after_an_earlier_fit(data_parallel):
    model = logit_model(focal(3.0))
    train(model, None, epochs=1)
    path, _ = train(model)
    assert_close(path, oracle((3.0, *DOUBLING))[0][1:])


# --- resuming


def test_initial_epoch_enters_the_schedule_where_it_stands():
    path, history = train(eager_model(), epochs=4, initial_epoch=2)
    assert_close(path, oracle((4.0, 8.0))[0])
    assert history["gamma"] == [4.0, 8.0]


class Crash(keras.callbacks.Callback):
    """Stop the run at the start of an epoch, as a lost machine does."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            raise InterruptedError("crash")


def test_new_model_restored_from_a_backup_resumes_the_schedule(tmp_path):
    def backup():
        return keras.callbacks.BackupAndRestore(tmp_path)

    with pytest.raises(InterruptedError):
        train(eager_model(), callbacks=[backup(), Crash(2)])
    path, history = train(eager_model(), callbacks=[backup()])
    assert_close(path, oracle(DOUBLING)[0][2:])
    assert history["gamma"] == [4.0, 8.0]


def test_saved_model_holds_the_gamma_of_its_last_epoch(tmp_path):
    model = eager_model()
    train(model, epochs=3)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x = np.ones((4, 1), "float32")
    assert loaded.loss.gamma == 4.0
    assert loaded.evaluate(x, x, verbose=0) == pytest.approx(oracle(DOUBLING[:3])[1][-1], rel=RTOL)


def test_model_saved_in_mid_schedule_resumes_it(tmp_path):
    model = logit_model()
    train(model, epochs=2)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    path, history = train(loaded, epochs=4, initial_epoch=2, validate=True)
    assert_close(path, oracle(DOUBLING)[0][2:])
    np.testing.assert_allclose(history["val_loss"], oracle(DOUBLING)[1][2:], rtol=RTOL)


# --- what the callback leaves in logs, metrics and weights


def test_gamma_of_each_epoch_is_in_the_history_and_nothing_else_is_new():
    _, history = train(eager_model(), validate=True)
    assert history["gamma"] == [*DOUBLING]
    assert set(history) == {"loss", "val_loss", "gamma"}


def test_gamma_is_in_the_file_of_a_csv_logger_placed_after_it(tmp_path):
    train(eager_model(), callbacks=[keras.callbacks.CSVLogger(tmp_path / "log.csv")])
    rows = csv.DictReader((tmp_path / "log.csv").read_text().splitlines())
    assert [float(row["gamma"]) for row in rows] == [*DOUBLING]


def test_epoch_may_end_without_logs():
    callback = GammaScheduler({0: 3.0})
    callback.set_model(eager_model())
    callback.on_epoch_begin(0)
    callback.on_epoch_end(0)
    assert callback.model.loss.gamma == 3.0


def test_evaluate_of_a_scheduled_model_returns_a_scalar():
    model = eager_model()
    train(model)
    x = np.ones((4, 1), "float32")
    assert np.ndim(model.evaluate(x, x, verbose=0)) == 0
    assert set(model.evaluate(x, x, verbose=0, return_dict=True)) == {"loss"}


def test_scheduled_model_has_the_weights_of_an_unscheduled_one():
    model = eager_model()
    names = [weight.path for weight in model.weights]
    train(model)
    assert [weight.path for weight in model.weights] == names


def datasets(path):
    """Return the names and shapes of the arrays in a weights file."""
    import h5py

    found = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, node: (
                found.update({name: node.shape}) if isinstance(node, h5py.Dataset) else None
            )
        )
    return found


def test_weights_file_of_a_scheduled_model_is_that_of_an_unscheduled_one(tmp_path):
    scheduled, plain = eager_model(), eager_model()
    train(scheduled)
    train(plain, None)
    scheduled.save_weights(tmp_path / "scheduled.weights.h5")
    plain.save_weights(tmp_path / "plain.weights.h5")
    expected = datasets(tmp_path / "plain.weights.h5")
    assert datasets(tmp_path / "scheduled.weights.h5") == expected != {}


def test_weights_file_of_a_scheduled_model_loads_into_a_plain_one(tmp_path):
    model = eager_model()
    train(model)
    model.save_weights(tmp_path / "model.weights.h5")
    plain = keras.Sequential([keras.Input((1,)), logit_layer(start=7.0)])
    plain.load_weights(tmp_path / "model.weights.h5")
    kernel = ops.convert_to_numpy(plain.weights[0])[0, 0]
    assert_close(kernel, oracle(DOUBLING)[0][-1])


def test_verbose_prints_each_change_and_only_changes(capsys):
    train(eager_model(), GammaScheduler({0: 5.0, 2: 1.5}, verbose=1))
    lines = [line for line in capsys.readouterr().out.splitlines() if line]
    assert ["5" in lines[0], "1.5" in lines[1], len(lines)] == [True, True, 2]


def test_nothing_is_printed_by_default(capsys):
    train(eager_model())
    assert capsys.readouterr().out == ""


# --- the schedules


def gammas_of(schedule, epochs, **kwargs):
    """Return what a callback plans for each epoch of a run."""
    callback = GammaScheduler(schedule, **kwargs)
    callback.set_params({"epochs": epochs})
    return [callback.gamma_at(epoch) for epoch in range(epochs)]


@pytest.mark.parametrize(("name", "last"), [("FLSc-531", 1.0), ("FLSc-532", 2.0)])
def test_preset_switches_at_epochs_100_and_250_of_350(name, last):
    assert gammas_of(name, 350) == [5.0] * 100 + [3.0] * 150 + [last] * 100


def test_preset_switches_at_two_and_five_sevenths_of_any_run():
    for n in (1, 2, 5, 20):
        assert gammas_of("FLSc-531", 7 * n) == [5.0] * 2 * n + [3.0] * 3 * n + [1.0] * 2 * n


def test_preset_switches_at_the_epoch_nearest_to_its_fraction():
    for epochs in (4, 10, 30, 100, 160):
        gammas = gammas_of("FLSc-532", epochs)
        assert abs(gammas.index(3.0) - epochs * 2 / 7) <= 0.5
        assert abs(gammas.index(2.0) - epochs * 5 / 7) <= 0.5
        assert gammas == sorted(gammas, reverse=True)


def test_preset_is_applied_in_fit():
    assert_follows(eager_model(), (5.0, 5.0, 3.0, 3.0, 3.0, 1.0, 1.0), "FLSc-531")


def test_preset_counts_its_fractions_from_epoch_zero_when_resumed():
    _, history = train(eager_model(), "FLSc-531", epochs=7, initial_epoch=4)
    assert history["gamma"] == [3.0, 1.0, 1.0]


def test_preset_takes_explicit_boundaries():
    callback = GammaScheduler("FLSc-532", boundaries=[1, 3])
    assert_follows(eager_model(), (5.0, 3.0, 3.0, 2.0, 2.0), callback)


def test_boundaries_are_known_outside_fit():
    callback = GammaScheduler("FLSc-531", boundaries=(100, 250))
    assert [callback.gamma_at(e) for e in (0, 99, 100, 249, 250, 10**6)] == [5, 5, 3, 3, 1, 1]


def test_dict_holds_each_gamma_from_its_epoch_on_in_any_order():
    assert gammas_of({4: 0.5, 0: 5, 1: 3.0}, 6) == [5.0, 3.0, 3.0, 3.0, 0.5, 0.5]


def test_callable_may_return_any_kind_of_scalar():
    scalars = [1, np.float32(2.0), np.array(4.0), ops.convert_to_tensor(8.0)]
    assert gammas_of(scalars.__getitem__, 4) == [*DOUBLING]


@pytest.mark.parametrize(
    "schedule",
    [
        keras.optimizers.schedules.PiecewiseConstantDecay([1, 2], [5.0, 3.0, 1.0]),
        keras.optimizers.schedules.ExponentialDecay(5.0, decay_steps=1, decay_rate=0.5),
    ],
    ids=lambda schedule: type(schedule).__name__,
)
def test_keras_schedule_is_called_with_the_epoch(schedule):
    expected = [float(ops.convert_to_numpy(schedule(epoch))) for epoch in range(4)]
    assert len(set(expected)) > 2
    assert_follows(eager_model(), expected, schedule)


# --- bad input


@pytest.mark.parametrize(
    "loss",
    ["mse", "binary_crossentropy", keras.losses.BinaryFocalCrossentropy(from_logits=True)],
    ids=["mse", "string", "Keras's own"],
)
def test_model_without_a_focal_loss_is_refused(loss):
    with pytest.raises(ValueError, match=r"needs a focal loss.*Received: loss=.*Compile with"):
        train(logit_model(loss))


@pytest.mark.parametrize("gamma", ["FLSD-53", SampleDependentGamma([0.5], [3.0, 1.0])])
def test_sample_dependent_gamma_is_refused(gamma):
    with pytest.raises(ValueError, match=r"gamma is a number.*Received: gamma=Sample.*Remove the"):
        train(logit_model(focal(gamma)))


@pytest.mark.parametrize("name", ["FLSc-53", "flsc-53", "FLSD-53", ""])
def test_unknown_preset_is_refused_and_the_known_ones_listed(name):
    with pytest.raises(ValueError, match=r"`schedule` must be .*'FLSc-531', 'FLSc-532'.*Received"):
        GammaScheduler(name)


@pytest.mark.parametrize("schedule", [3.0, None, [5.0, 3.0]], ids=str)
def test_schedule_of_another_type_is_refused(schedule):
    with pytest.raises(ValueError, match=r"`schedule` must be a preset.*Received: schedule="):
        GammaScheduler(schedule)


@pytest.mark.parametrize("schedule", [{1: 5.0, 3: 1.0}, {}, {-1: 5.0, 2: 3.0}], ids=str)
def test_dict_without_epoch_zero_is_refused(schedule):
    with pytest.raises(ValueError, match=r"`schedule` must have an entry for epoch 0.*Received"):
        GammaScheduler(schedule)


@pytest.mark.parametrize(
    "schedule",
    [{0: 5.0, 1.5: 3.0}, {"0": 5.0, "10": 3.0}, {0: 5.0, "10": 3.0}],
    ids=["fraction", "text", "mixed"],
)
def test_dict_with_epochs_that_are_not_whole_numbers_is_refused(schedule):
    with pytest.raises(ValueError, match=r"`schedule` must.*Received"):
        GammaScheduler(schedule)


@pytest.mark.parametrize("gamma", [-1.0, float("nan"), float("inf"), "5", None])
def test_dict_with_a_bad_gamma_is_refused(gamma):
    with pytest.raises(ValueError, match=r"`schedule` must be a finite number >= 0.*Received"):
        GammaScheduler({0: 5.0, 3: gamma})


@pytest.mark.parametrize(
    "boundaries",
    [[1], [1, 2, 3], [3, 1], [2, 2], [-1, 2], [1.5, 3]],
    ids=str,
)
def test_bad_boundaries_are_refused(boundaries):
    with pytest.raises(ValueError, match=r"`boundaries` must be .*Received: boundaries="):
        GammaScheduler("FLSc-531", boundaries=boundaries)


def test_boundaries_beside_another_schedule_than_a_preset_are_refused():
    with pytest.raises(
        ValueError, match=r"`boundaries` must be None unless.*Received: boundaries="
    ):
        GammaScheduler({0: 5.0}, boundaries=[1, 2])


def test_preset_without_a_run_asks_for_boundaries():
    with pytest.raises(ValueError, match=r"`boundaries` must be given outside `fit`"):
        GammaScheduler("FLSc-531").gamma_at(0)


@pytest.mark.parametrize("bad", [-0.5, float("nan"), None], ids=["negative", "nan", "nothing"])
def test_callable_that_returns_a_bad_gamma_is_stopped_at_its_epoch(bad):
    seen = Weights()
    with pytest.raises(ValueError, match=r"`schedule\(epoch\)` must be a finite number >= 0"):
        train(eager_model(), [1.0, 2.0, bad, 8.0].__getitem__, callbacks=[seen])
    assert len(seen.path) == 2
