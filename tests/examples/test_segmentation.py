"""The example of segmentation: void pixels, figures against plain sums, its page, bad data."""

import io
import json
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import reference
from backends import as_usual

from keras_focal import metrics

ROOT = Path(__file__).resolve().parents[2]

# Of `keras.metrics.MeanIoU` on JAX.
pytestmark = pytest.mark.filterwarnings("ignore:Explicitly requested dtype int64")


@pytest.fixture
def segmentation(example):
    return example("segmentation")


@pytest.fixture
def pixels(rng):
    """Labels and logits of three images, a third of them void."""
    y = rng.integers(0, 11, (3, 8, 8)).astype("int32")
    logits = rng.normal(0, 2, (*y.shape, 11)).astype("float32") + 2 * np.eye(11, dtype="float32")[y]
    y[rng.random(y.shape) < 0.3] = 255
    return y, logits


@pytest.fixture
def anything_in_void(pixels):
    y, logits = pixels
    return np.where((y == 255)[..., None], 50.0 * np.arange(11), logits).astype("float32")


class Given:
    """A model whose predictions are its inputs."""

    def predict(self, x, **_):
        return x

    predict_on_batch = predict


def measured(segmentation, y, logits, batch=2):
    split = SimpleNamespace(x=logits, y=y)
    return segmentation.measure(
        Given(), segmentation.Data("scenes", split, split, split, ()), batch
    )


@pytest.mark.parametrize("number", range(9))
def test_void_pixels_leave_each_loss_exactly_unchanged(
    segmentation, pixels, anything_in_void, number
):
    y, logits = pixels
    assert len(segmentation.SETTINGS) == 9
    loss = as_usual([*segmentation.SETTINGS.values()][number]())
    value = float(loss(y, logits))
    assert np.isfinite(value)
    assert float(loss(y, anything_in_void)) == value


def test_void_pixels_leave_every_figure_exactly_unchanged(segmentation, pixels, anything_in_void):
    y, logits = pixels
    found = measured(segmentation, y, logits)
    assert found["pixels"] == (y != 255).sum()
    assert measured(segmentation, y, anything_in_void) == found


def test_figures_of_pixels_images_and_classes_are_plain_sums(segmentation, pixels):
    y, logits = pixels
    found = measured(segmentation, y, logits)

    def ece(labels, rows, scale=1.0):
        p = reference.softmax64(rows * scale)
        return reference.ece(*reference.top_label(labels, p), 15)

    counts = y != 255
    labels, rows = y[counts], logits[counts].astype("float64")
    assert found["ece"] == pytest.approx(ece(labels, rows), rel=1e-4)
    scaled = ece(labels, rows, 1 / found["temperature"])
    assert found["ece_at_t"] == pytest.approx(scaled, rel=1e-4)
    of_images = [ece(a[c], z[c]) for a, z, c in zip(y, logits, counts, strict=True)]
    assert found["image_ece"] == pytest.approx(np.mean(of_images), rel=1e-4)
    p = reference.softmax64(rows)
    assert found["nll"] == pytest.approx(-np.log(p[np.arange(len(p)), labels]).mean(), rel=1e-4)
    top = rows.argmax(axis=1)
    dice = [
        2 * ((top == k) & (labels == k)).sum() / ((top == k).sum() + (labels == k).sum())
        for k in range(11)
    ]
    assert found["dice"] == pytest.approx(np.mean(dice), rel=1e-5)


@pytest.mark.nightly
def test_millions_of_pixels_are_measured_in_memory_that_does_not_grow(monkeypatch, rng):
    monkeypatch.syspath_prepend(ROOT / "tests/benchmarks")
    from harness import peak_of, resident

    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("peak memory is read from Linux")
    y = rng.integers(0, 11, (16, 128, 128))
    logits = rng.normal(size=(*y.shape, 11)).astype("float32")

    def stream(batches):
        metric = metrics.ECE(from_logits=True)
        for _ in range(batches):
            metric.update_state(y, logits)
        return float(metric.result())

    stream(1)
    before = resident()
    few, many = peak_of(lambda: stream(2)) - before, peak_of(lambda: stream(12)) - before
    assert many - few < 3 * logits.nbytes


def test_scenes_have_void_borders_and_digits_of_their_own(example):
    scenes = example("shared.scenes")
    found = scenes.digits(0, (4, 3, 2))
    assert [part.x.shape for part in (found.train, found.test)] == [
        (4, 32, 32, 1),
        (2, 32, 32, 1),
    ]
    y = found.train.y
    assert set(np.unique(y)) <= {*range(11), 255}
    assert {0, 255} < set(np.unique(y))
    again = scenes.digits(0, (4, 3, 2))
    np.testing.assert_array_equal(again.validation.x, found.validation.x)
    assert not np.array_equal(scenes.digits(1, (4, 3, 2)).train.y, y)


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore:The temperature lies at its")
def test_quick_form_trains_measures_and_draws(run_example, few_steps, tmp_path):
    module = run_example("segmentation", "--quick", "--epochs", 1, "--out", tmp_path)
    runs = json.loads((tmp_path / "runs.json").read_text())["runs"]
    assert [run["setting"] for run in runs] == [*module.SHOWN]
    for run in runs:
        assert all(np.isfinite(run[figure.name]) for figure in module.STUDY.figures)
        assert 0 <= run["dice"] <= 1
    assert (tmp_path / "segmentation.png").stat().st_size > 20_000


def test_schedule_reaches_the_gamma_inside_the_sum(segmentation):
    loss = segmentation.SETTINGS["scheduled focal + Dice"]()
    model = keras.Sequential([keras.Input((2, 2, 1)), keras.layers.Conv2D(11, 1)])
    model.compile("sgd", loss, run_eagerly=True)
    schedule = segmentation.callbacks.GammaScheduler("FLSc-531")
    gammas = []
    watch = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: gammas.append(loss.losses[0].gamma)
    )
    x, y = np.ones((1, 2, 2, 1), "float32"), np.array([[[0, 3], [255, 10]]])
    model.fit(x, y, epochs=7, verbose=0, callbacks=[schedule, watch])
    assert (gammas[0], gammas[3], gammas[-1]) == (5.0, 3.0, 1.0)


@pytest.mark.skipif(
    not (ROOT / "docs/results/segmentation.json").exists(), reason="nothing is published"
)
def test_page_follows_from_the_published_runs(segmentation):
    results = json.loads((ROOT / "docs/results/segmentation.json").read_text())
    page = (ROOT / "docs/examples/segmentation.md").read_text()
    assert page == segmentation.STUDY.page(results, segmentation.text(results["runs"]))
    assert {run["setting"] for run in results["runs"]} == {*segmentation.SETTINGS}
    seeds = [run["seed"] for run in results["runs"] if run["setting"] == "cross-entropy"]
    assert len(seeds) >= 2


# --- blood cells


def encoded(color):
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (640, 480), color).save(buffer, "PNG")
    return buffer.getvalue()


def cells(folder, **changes):
    """Write a file of four images; the last does not decode."""
    files = [encoded("red"), encoded("blue"), encoded("white"), b"no image"]
    arrays = {
        "bytes": np.frombuffer(b"".join(files), "uint8"),
        "offsets": np.cumsum([0, *map(len, files)]),
        "names": np.array(["a", "b", "c", "damaged"]),
        "size_wh": np.tile([640, 480], (4, 1)),
        "boxes_xyxy": np.array(
            [[0, 0, 320, 240], [160, 0, 640, 120], [600, 440, 900, 700], [50, 50, 50, 50]]
        ),
        "box_image": np.array([0, 0, 1, 2]),
        "box_class": np.array([0, 1, 1, 0]),
        "class_names": np.array(["RBC", "WBC"]),
        "split_train": np.array([0, 3]),
        "split_val": np.array([1]),
        "split_test": np.array([2]),
    } | changes
    np.savez(folder / "bccd.npz", **{k: v for k, v in arrays.items() if v is not None})
    return folder


def test_boxes_become_masks_cut_at_the_edge_and_void_where_classes_meet(example, tmp_path, capsys):
    pytest.importorskip("PIL", reason="needs the extra `examples`")
    found = example("shared.scenes").blood_cells(cells(tmp_path), (5, 5, 5))
    assert found.num_classes == 3
    expected = np.zeros((36, 48), int)
    expected[:18, :24] = 1
    expected[:9, 12:24] = 255
    expected[:9, 24:] = 2
    np.testing.assert_array_equal(found.train.y, expected[None])
    np.testing.assert_allclose(found.train.x, np.broadcast_to([1, 0, 0], (1, 36, 48, 3)))
    edge = np.zeros((36, 48), int)
    edge[33:, 45:] = 2
    np.testing.assert_array_equal(found.validation.y[0], edge)
    assert not found.test.y.any()
    assert "1 images do not decode and are left out: damaged" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"box_class": np.array([0, 2, 1, 0])}, r"`box_class` must be in \[0, 2\). Received: 2"),
        ({"box_image": np.array([0, 0, 1, 9])}, r"`box_image` must be in \[0, 4\). Received: 9"),
        ({"split_val": np.array([3])}, "`split_val` has no image that decodes"),
        ({"size_wh": None, "names": None}, "has no names, size_wh: it must hold"),
    ],
)
def test_bad_cells_are_named(changes, message, example, tmp_path):
    pytest.importorskip("PIL", reason="needs the extra `examples`")
    with pytest.raises(SystemExit, match=message):
        example("shared.scenes").blood_cells(cells(tmp_path, **changes), (5, 5, 5))


def test_a_folder_without_the_file_says_what_it_must_hold(run_example, tmp_path, capsys):
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as stop:
        run_example("segmentation", "--data-dir", tmp_path / "none", "--out", out)
    assert stop.value.code == 2
    assert "--data-dir must be a folder with bccd.npz of the blood cells" in " ".join(
        capsys.readouterr().err.split()
    )
    with pytest.raises(SystemExit, match=r"must hold bccd.npz of the blood cells"):
        run_example("segmentation", "--data-dir", tmp_path, "--out", out)
    for content in (b"", b"damaged", b"PK\x03\x04damaged"):
        (tmp_path / "bccd.npz").write_bytes(content)
        with pytest.raises(SystemExit, match=r"bccd.npz cannot be read as .npz"):
            run_example("segmentation", "--data-dir", tmp_path, "--out", out)
    assert not out.exists()


def test_cells_are_not_published(run_example, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run_example("segmentation", "--data-dir", tmp_path, "--publish", "--out", tmp_path / "o")
    assert "--publish shows the digits" in capsys.readouterr().err
