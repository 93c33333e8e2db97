"""Maps on top of losses, and images of another kind: measured, written down, shown."""

import json
import shutil

import keras
import numpy as np
import pytest

from examples.paper.data import Data, Split
from examples.paper.report import beyond as sections
from examples.paper.reproduce import beyond, shift
from examples.paper.reproduce.maps import MAPS, NO_MAP, under_maps
from examples.paper.runs import Logits, Run

CLASSES = 3


def over_confident(rng, scale=4.0):
    """Logits that are calibrated when divided by `scale`, and their labels."""
    z = 2.0 * rng.normal(size=(1200, CLASSES))
    p = np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True)
    labels = (p.cumsum(axis=-1) < rng.uniform(size=(1200, 1))).sum(axis=-1).astype("int32")
    z = (scale * z).astype("float32")
    return Logits(z[:600], labels[:600], z[600:], labels[600:])


@pytest.fixture(scope="module")
def images():
    """CIFAR-10 in little: images whose brightness is their class, and others at random."""
    rng = np.random.default_rng(0)
    labels = rng.integers(CLASSES, size=90).astype("int32")
    x = (80 * labels[:, None, None, None] + rng.integers(0, 60, (90, 32, 32, 3))).astype("uint8")
    parts = [Split(x[start::3], labels[start::3]) for start in range(3)]
    others = rng.integers(0, 256, (20, 32, 32, 3)).astype("uint8")
    return Data("cifar10", *parts, class_names=("a", "b", "c")), others


@pytest.fixture(scope="module")
def model():
    inputs = keras.Input((32, 32, 3))
    brightness = keras.layers.Rescaling(1 / 80)(keras.layers.GlobalAveragePooling2D()(inputs))
    return keras.Model(inputs, keras.layers.Dense(CLASSES, name="logits")(brightness))


@pytest.fixture(scope="module")
def whole(tmp_path_factory, model, images):
    """A folder of two runs, and of what was published of them."""
    root, rng = tmp_path_factory.mktemp("whole"), np.random.default_rng(0)
    for loss, scale in (("CE", 4.0), ("FLSD-53", 1.2)):
        folder = root / "runs" / loss
        folder.mkdir(parents=True)
        settings = {"dataset": "cifar10", "network": "tiny", "loss": loss, "seed": 1}
        (folder / "run.json").write_text(json.dumps({**settings, "finished": True}))
        over_confident(rng, scale).save(folder / "logits.npz")
        model.save(folder / "model.keras")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(beyond, "FILE", root / "beyond.json")
        patch.setattr(beyond, "images_of", lambda data_dir: images)
        assert beyond.publish(root / "runs", None) == 2
    return root


@pytest.fixture
def runs(whole, tmp_path):
    return shutil.copytree(whole / "runs", tmp_path / "runs")


@pytest.fixture
def published(whole, images, tmp_path, monkeypatch):
    file = tmp_path / "beyond.json"
    monkeypatch.setattr(beyond, "FILE", shutil.copy(whole / file.name, file))
    monkeypatch.setattr(beyond, "images_of", lambda data_dir: images)
    return beyond.load()


def test_every_map_mends_logits_that_a_temperature_mends(rng):
    found = under_maps(over_confident(rng))
    assert list(found) == [NO_MAP, *MAPS]
    for name in MAPS:
        assert found[name]["nll"] < found[NO_MAP]["nll"] - 10
        assert found[name]["ece"] < found[NO_MAP]["ece"]


def test_a_run_that_diverged_has_no_figures_under_maps(rng):
    logits = over_confident(rng)
    logits.test_logits[0] = np.nan
    assert all(np.isnan(figures["ece"]) for figures in under_maps(logits).values())


@pytest.mark.parametrize("name", shift.DAMAGES)
def test_damage_keeps_the_mean_and_changes_every_image(name, rng):
    smooth = rng.integers(60, 190, (4, 8, 8, 3)).repeat(4, axis=1).repeat(4, axis=2)
    found = shift.damaged(smooth.astype("uint8"), name)
    assert found.dtype == "uint8"
    assert (found != smooth).any(axis=(1, 2, 3)).all()
    np.testing.assert_allclose(found.mean(axis=(1, 2)), smooth.mean(axis=(1, 2)), atol=4)


def test_contrast_and_blur_bring_pixels_together():
    board = 255 * (np.indices((1, 32, 32, 3)).sum(axis=0) % 2)
    for name in ("contrast, severity 3", "blur, severity 3"):
        assert np.ptp(shift.damaged(board.astype("uint8"), name)[:, 4:-4, 4:-4]) < 120


def test_halved_images_are_means_of_four_pixels():
    quarter = np.array([[0, 10], [20, 30]], "uint8")[None, :, :, None]
    image = np.tile(quarter, (1, 2, 2, 3))
    np.testing.assert_array_equal(shift.halved(image), np.full((1, 2, 2, 3), 15))


def test_confidence_tells_sure_images_from_unsure_ones_and_a_temperature_keeps_that_order():
    sure, unsure = 9.0 * np.eye(CLASSES), 0.1 * np.eye(CLASSES)
    for temperature in (1.0, 3.0):
        found = shift._figures(unsure, np.full(CLASSES, -1), sure, temperature)
        assert found["auroc_confidence"] == found["auroc_entropy"] == 100.0
        assert found["confidence"] < 40
        assert "ece" not in found
    assert shift._figures(unsure, np.arange(CLASSES), unsure, 1.0)["auroc_entropy"] == 50.0
    assert shift._figures(unsure, np.arange(CLASSES), unsure, 1.0)["error"] == 0.0


def test_each_run_is_published_with_its_maps_and_its_images_of_another_kind(published):
    assert published.keys() == {"cifar10/tiny/CE/1", "cifar10/tiny/FLSD-53/1"}
    for row in published.values():
        assert row["maps"].keys() == {NO_MAP, *MAPS}
        assert row["shift"].keys() == {*shift.DAMAGES, shift.OTHER}
        for figures in row["shift"].values():
            assert all(0 <= value <= 100 for value in figures["pre"].values())


def test_what_was_published_of_other_runs_stays(published, runs):
    (runs / "CE/run.json").unlink()
    assert beyond.publish(runs, None) == 1
    assert beyond.load() == published


def test_the_difference_is_of_the_same_seeds(published):
    rows = {
        **published,
        "cifar10/tiny/CE/2": {"maps": published["cifar10/tiny/CE/1"]["maps"]},
    }
    (line,) = (x for x in sections._maps_table(rows).splitlines() if f"{NO_MAP} | ECE" in x)
    ce, flsd = (
        published[f"cifar10/tiny/{loss}/1"]["maps"][NO_MAP]["ece"] for loss in sections.PAIR
    )
    assert line.endswith(f"| {ce:.2f} | {flsd:.2f} | {flsd - ce:+.2f} | 1 |")


def test_a_damaged_model_is_named(runs, images):
    file = runs / "CE/model.keras"
    file.write_bytes(b"no model")
    settings = {"dataset": "cifar10", "network": "tiny", "loss": "CE", "seed": 1}
    with pytest.raises(ValueError, match=r"model\.keras"):
        shift.under_shift(Run(runs / "CE", settings), *images)


def test_no_finished_run_is_a_clear_error(tmp_path):
    settings = {"dataset": "cifar10", "network": "tiny", "loss": "CE", "seed": 1}
    (tmp_path / "run.json").write_text(json.dumps(settings))
    with pytest.raises(FileNotFoundError, match="finished runs of images or texts"):
        beyond.publish(tmp_path, None)
