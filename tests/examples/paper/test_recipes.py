"""Recipes: the schedules of Appendix D, at any length, and weight decay as PyTorch means it."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from examples.paper.recipes import LOSSES, RECIPES, SGD, gamma_callbacks, make_loss


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_cifar_learns_at_a_tenth_after_150_and_250_of_350_epochs(dataset):
    recipe = RECIPES[dataset]
    rates = [recipe.learning_rate_at(epoch) for epoch in range(recipe.epochs)]
    np.testing.assert_allclose(rates, [0.1] * 150 + [0.01] * 100 + [0.001] * 100)


def test_tiny_imagenet_learns_at_a_tenth_after_40_and_60_of_100_epochs():
    recipe = RECIPES["tiny_imagenet"]
    rates = [recipe.learning_rate_at(epoch) for epoch in range(recipe.epochs)]
    np.testing.assert_allclose(rates, [0.1] * 40 + [0.01] * 20 + [0.001] * 40)


def test_a_shorter_run_keeps_the_proportions_of_its_schedules():
    recipe = RECIPES["tiny_imagenet"].scaled(epochs=10)
    assert (recipe.epochs, recipe.drops, recipe.gamma_switches) == (10, (4, 6), (3, 7))


def test_a_recipe_scaled_by_nothing_stays_as_it_is():
    assert RECIPES["cifar10"].scaled() == RECIPES["cifar10"]


def test_mmce_weighs_2_for_images_and_8_for_text():
    assert make_loss("MMCE", RECIPES["cifar10"]).weight == 2
    assert make_loss("MMCE", RECIPES["newsgroups20"]).weight == 8


@pytest.mark.parametrize("name", LOSSES)
def test_the_objective_sum_adds_the_losses_of_a_batch_but_brier_stays_a_mean(name):
    labels, logits = np.array([0, 2, 1]), np.random.default_rng(0).normal(size=(3, 4))
    mean, summed = (
        float(make_loss(name, replace(RECIPES["cifar10"], objective=form))(labels, logits))
        for form in ("mean", "sum")
    )
    assert summed == pytest.approx(mean if name == "Brier" else 3 * mean, rel=1e-5)


def test_images_have_the_objective_of_the_authors_code():
    objectives = {name: recipe.objective for name, recipe in RECIPES.items()}
    assert [objectives[name] for name in ("cifar10", "cifar100", "tiny_imagenet")] == ["sum"] * 3


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_takes_logits_and_class_ids(name):
    loss = make_loss(name, RECIPES["cifar10"])
    value = loss(np.array([0, 2]), np.array([[2.0, 0.0, 0.0], [0.0, 0.0, 1.0]], "float32"))
    assert float(value) > 0


@pytest.mark.parametrize("dataset", ["cifar10", "tiny_imagenet"])
def test_each_gamma_of_a_schedule_has_an_epoch_in_the_fewest_epochs(dataset):
    fewest = RECIPES[dataset].fewest_epochs("FLSc-531")
    assert fewest == 3
    assert RECIPES[dataset].fewest_epochs("FL-3") == 1
    (scheduler,) = gamma_callbacks("FLSc-531", RECIPES[dataset].scaled(fewest), None)
    loss, seen = make_loss("FLSc-531", RECIPES[dataset]), []
    record = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: seen.append(float(loss.gamma)))
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2)])
    model.compile("sgd", loss)
    x, y = np.zeros((1, 1)), np.zeros(1)
    model.fit(x, y, epochs=fewest, callbacks=[scheduler, record], verbose=0)
    assert seen == [5.0, 3.0, 1.0]


def test_epoch_scheduled_and_adaptive_gammas_have_their_callbacks(tmp_path):
    def kinds(loss):
        found = gamma_callbacks(loss, RECIPES["cifar10"], tmp_path)
        return [type(callback).__name__ for callback in found]

    assert kinds("FLSc-531") == kinds("FLSc-532") == ["GammaScheduler"]
    assert kinds("AdaFocal") == ["AdaptiveGamma"]
    assert kinds("FLSD-53") == kinds("CE") == []


def test_sgd_gathers_the_penalty_in_its_momentum():
    """PyTorch: g <- g + l2 w; v <- momentum v + g; w <- w - rate v."""
    variable = keras.Variable([1.0, -2.0])
    optimizer = SGD(0.1, momentum=0.9, l2=0.5)
    w, v = np.array([1.0, -2.0]), np.zeros(2)
    for gradient in ([0.3, 0.1], [-0.2, 0.4], [0.0, 0.0]):
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
        v = 0.9 * v + np.array(gradient) + 0.5 * w
        w = w - 0.1 * v
    np.testing.assert_allclose(keras.ops.convert_to_numpy(variable), w, rtol=1e-6)


def test_the_penalty_is_in_the_config():
    assert SGD.from_config(SGD(0.1, l2=0.25).get_config()).l2 == 0.25
