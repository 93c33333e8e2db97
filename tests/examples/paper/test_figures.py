"""The figures of the paper: their lines hold an oracle's numbers, and what they lack is said."""

import json

import numpy as np
import pytest
import reference
from matplotlib import pyplot as plt
from pictures import is_inside_the_figure, legend_texts

from examples.paper.data import Data, Split
from examples.paper.figures import (
    __main__,
    _linear_model,
    _looks,
    _samples,
    _theory,
    _training,
    _translation,
)
from examples.paper.figures._select import (
    MissingRunsError,
    of_images,
    of_translation,
    with_snapshots,
)
from examples.paper.runs import Logits, Snapshot, read
from keras_focal import plotting

EPOCHS, CLASSES, SAMPLES = 5, 3, 60
FOUR = ("CE", "FL-1", "FL-2", "FL-3")
IMAGES = ("CE", "MMCE", "Brier", "FLSD-53")


@pytest.fixture(autouse=True)
def _closes_its_figures():
    yield
    plt.close("all")


def random_logits(rng, labels, scale):
    return (scale * (rng.normal(size=(len(labels), CLASSES)) + np.eye(CLASSES)[labels])).astype(
        "float32"
    )


def write_run(out, loss, dataset="cifar10", finished=True, **settings):
    folder = out / f"{dataset}_{loss}"
    folder.mkdir(parents=True)
    settings = {"network": "resnet50", "seed": 1, "epochs": EPOCHS, **settings}
    settings |= {"dataset": dataset, "loss": loss, "finished": finished}
    (folder / "run.json").write_text(json.dumps(settings))
    return folder


def write_snapshots(folder, seed, epochs=range(1, EPOCHS + 1)):
    rng = np.random.default_rng(seed)
    for epoch in epochs:
        test, train = rng.integers(CLASSES, size=(2, SAMPLES), dtype="int32")
        Snapshot(
            epoch,
            random_logits(rng, test, epoch),
            test,
            random_logits(rng, train, epoch),
            train,
            rng.random(SAMPLES, dtype="float32"),
            float(rng.random()),
        ).save(folder / "snapshots")


@pytest.fixture
def four(tmp_path):
    """Runs of the four losses, with snapshots, by their names."""
    for seed, loss in enumerate(FOUR):
        write_snapshots(write_run(tmp_path, loss), seed)
    return with_snapshots(*FOUR).pick(read(tmp_path))


def means(labels, logits):
    """What Figures 2 and 3 draw of one snapshot."""
    p = reference.softmax64(logits)
    nll = -np.log(p[np.arange(len(labels)), labels])
    entropy = -(p * np.log(p)).sum(-1)
    confidence, correct = reference.top_label(labels, p)
    right = np.array(correct, bool)
    return {
        "nll": nll.mean(),
        "nll_right": nll[right].mean(),
        "nll_wrong": nll[~right].mean(),
        "entropy_right": entropy[right].mean(),
        "entropy_wrong": entropy[~right].mean(),
        "error": 100 * (~right).mean(),
        "ece": 100 * reference.ece(confidence, right),
    }


def lines_of(ax):
    """Values of each line with a name."""
    return {
        line.get_label(): line.get_ydata()
        for line in ax.lines
        if not line.get_label().startswith("_")
    }


def test_figure_1_shows_the_training_samples_in_25_bins(four):
    figure = _training.figure_1(four["CE"])
    assert is_inside_the_figure(*figure.axes)
    above, below = np.reshape(figure.axes, (2, -1))
    assert [ax.get_title().split(":")[0] for ax in above] == ["epoch 1", "epoch 3", "epoch 4"]
    for ax, epoch in zip(below, (1, 3, 4), strict=True):
        found = four["CE"].snapshots()[epoch - 1]
        confidence, correct = reference.top_label(
            found.train_labels, reference.softmax64(found.train_logits)
        )
        counts, _ = np.histogram(confidence, np.linspace(0, 1, 26))
        shares = [bar.get_height() for bar in ax.patches]
        np.testing.assert_allclose(shares, 100 * counts[counts > 0] / SAMPLES, rtol=1e-6)
        assert legend_texts(ax)[0] == f"accuracy {100 * np.mean(correct):.1f} %"


def test_figure_2_draws_both_parts_by_epoch(four):
    figure = _training.figure_2(four["CE"])
    assert is_inside_the_figure(*figure.axes)
    of_train, of_test, errors = figure.axes
    snapshots = four["CE"].snapshots()
    train = [means(found.train_labels, found.train_logits) for found in snapshots]
    test = [means(found.test_labels, found.test_logits) for found in snapshots]
    names = {
        "NLL": "nll",
        "NLL, right": "nll_right",
        "NLL, wrong": "nll_wrong",
        "entropy, right": "entropy_right",
        "entropy, wrong": "entropy_wrong",
    }
    for ax, rows in ((of_train, train), (of_test, test)):
        drawn = lines_of(ax)
        assert drawn.keys() == names.keys()
        for label, name in names.items():
            np.testing.assert_allclose(drawn[label], [row[name] for row in rows], rtol=1e-5)
    drawn = lines_of(errors)
    for label, rows, name in (
        ("train error", train, "error"),
        ("test error", test, "error"),
        ("test ECE", test, "ece"),
    ):
        np.testing.assert_allclose(drawn[label], [row[name] for row in rows], rtol=1e-5)


def test_wrong_samples_leave_a_gap_where_there_are_none(tmp_path):
    folder = write_run(tmp_path, "CE")
    write_snapshots(folder, 0, epochs=(1, 2))
    labels = np.zeros(4, "int32")
    sure = np.tile(np.float32([9.0, 0.0, 0.0]), (4, 1))
    Snapshot(3, sure, labels, sure, labels, np.ones(4, "float32"), 1.0).save(folder / "snapshots")
    (run,) = read(tmp_path)
    drawn = lines_of(_training.figure_2(run).axes[0])
    assert np.isnan(drawn["NLL, wrong"]).tolist() == [False, False, True]
    assert np.isfinite(drawn["NLL"]).all()


def test_figure_3_draws_a_line_for_each_loss(four):
    figure = _training.figure_3(four)
    assert is_inside_the_figure(*figure.axes)
    for ax, name in zip(
        figure.axes, ("nll", "nll_right", "nll_wrong", "entropy_wrong"), strict=False
    ):
        drawn = lines_of(ax)
        assert [*drawn] == [*FOUR]
        for loss, run in four.items():
            rows = [means(found.test_labels, found.test_logits) for found in run.snapshots()]
            np.testing.assert_allclose(drawn[loss], [row[name] for row in rows], rtol=1e-5)
    norms = lines_of(figure.axes[4])["FL-2"]
    assert norms.tolist() == [found.kernel_norm for found in four["FL-2"].snapshots()]


def test_figure_4_draws_the_gradient_norms_of_the_last_layer(four):
    figure = _theory.figure_4(four)
    assert is_inside_the_figure(*figure.axes)
    assert [ax.get_title() for ax in figure.axes[1:]] == ["(b) epoch 1", "(c) epoch 3"]
    text = legend_texts(figure.axes[2])[3]
    found = four["FL-3"].snapshots()[2]
    rows = zip(found.train_labels, found.train_logits, strict=True)
    norms = [np.linalg.norm(reference.sparse_focal(*row, 3.0)[1]) for row in rows]
    mean = np.mean(norms * np.hypot(found.train_feature_norms, 1.0))
    assert text == f"FL-3: mean {mean:.3g}"


def test_figure_4_takes_epochs_that_all_runs_kept(tmp_path):
    write_snapshots(write_run(tmp_path, "CE"), 0, epochs=(1, 2, 4))
    write_snapshots(write_run(tmp_path, "FL-1"), 0, epochs=(2, 3))
    runs = with_snapshots("CE", "FL-1").pick(read(tmp_path))
    assert [ax.get_title() for ax in _theory.figure_4(runs).axes[1:]] == ["(b) epoch 2"]


def test_runs_without_a_common_epoch_are_named(tmp_path):
    write_snapshots(write_run(tmp_path, "CE"), 0, epochs=(1,))
    write_snapshots(write_run(tmp_path, "FL-1"), 0, epochs=(2,))
    runs = with_snapshots("CE", "FL-1").pick(read(tmp_path))
    with pytest.raises(MissingRunsError, match="same epochs"):
        _theory.figure_4(runs)


def test_figure_4_is_drawn_without_runs_too():
    (ax,) = _theory.figure_4().axes
    line = ax.lines[4]
    p, ratio = line.get_data()
    assert line.get_label().startswith("γ = 3")
    expected = [reference.gradient_ratio(value, 3.0) for value in p[::50]]
    np.testing.assert_allclose(ratio[::50], expected, rtol=1e-5)


def test_figure_5_marks_the_best_temperatures(tmp_path):
    ece, bleu = (
        {"CE": [9.0, 4.0, 6.0], "LS-0.1": [3.0, 5.0, 8.0], "FL-1": [7.0, 2.0, 9.0]},
        [
            20.0,
            25.0,
            26.5,
        ],
    )
    for loss, values in ece.items():
        found = {"temperatures": [0.8, 1.0, 1.2], "ece_validation": values}
        found |= {"bleu_temperatures": [0.8, 1.0, 1.2], "bleu_test": bleu}
        file = write_run(tmp_path, loss, "multi30k") / "translation.json"
        file.write_text(json.dumps({"ece": found}))
    figure = _translation.figure_5(of_translation(*ece).pick(read(tmp_path)))
    assert is_inside_the_figure(*figure.axes)
    above, below = np.reshape(figure.axes, (2, 3))
    assert [ax.lines[0].get_ydata().tolist() for ax in above] == [*ece.values()]
    assert [ax.lines[0].get_ydata().tolist() for ax in below] == [bleu] * 3
    assert [ax.texts[0].get_text() for ax in above] == [
        "best: 4.00 at T = 1",
        "best: 3.00 at T = 0.8",
        "best: 2.00 at T = 1",
    ]
    assert below[0].texts[0].get_text() == "best: 26.50 at T = 1.2"


def test_figure_6_draws_the_least_expected_loss():
    (ax,) = _theory.figure_6().axes
    for line, gamma in zip(ax.lines, (0.0, 1.0, 2.0, 3.0), strict=True):
        q, p = line.get_data()
        grid = np.linspace(0.0005, 0.9995, 1000)
        for frequency, optimum in zip(q[50::150], p[50::150], strict=True):
            loss = -frequency * (1 - grid) ** gamma * np.log(grid)
            loss -= (1 - frequency) * grid**gamma * np.log1p(-grid)
            assert optimum == pytest.approx(grid[loss.argmin()], abs=1e-3)


@pytest.fixture
def images(tmp_path):
    """A data set of 12 images and the runs of four losses, of which all get 3 wrong."""
    rng = np.random.default_rng(0)
    labels = np.arange(12, dtype="int32") % CLASSES
    split = Split(rng.integers(256, size=(12, 8, 8, 3), dtype="uint8"), labels)
    for scale, loss in enumerate(IMAGES, 1):
        z = np.eye(CLASSES, dtype="float32")[labels] * 2 * scale
        z[9:] = np.roll(z[9:], 1, axis=-1)
        if loss == "MMCE":
            z[0] = z[0, [1, 0, 2]]
        Logits(z, labels, z, labels).save(write_run(tmp_path, loss) / "logits.npz")
    data = Data("cifar10", split, split, split, ("cat", "dog", "a name of many letters"))
    return of_images(*IMAGES).pick(read(tmp_path)), data


def test_figure_9_shows_what_all_get_right_and_wrong(images):
    runs, data = images
    figure = _samples.figure_9(runs, data)
    assert is_inside_the_figure(*figure.axes)
    # MMCE gets the first image wrong, the others right.
    for ax, sample in zip(figure.axes, (1, 2, 3, 4, 9, 10, 11), strict=True):
        np.testing.assert_array_equal(ax.images[0].get_array(), data.test.x[sample])
        assert ax.get_title() == data.class_names[data.test.y[sample]]


def test_figure_9_gives_confidence_before_and_after_scaling(images):
    runs, data = images
    figure = _samples.figure_9(runs, data)
    z = runs["FLSD-53"].logits().test_logits
    labels = data.test.y

    def confidence(temperature):
        return reference.top_label(labels, reference.softmax64(z / temperature))

    grid = np.arange(1, 101) / 10
    best = grid[np.argmin([round(reference.ece(*confidence(t)), 6) for t in grid])]
    before, after = confidence(1.0)[0][1], confidence(best)[0][1]
    line = figure.axes[0].get_xlabel().splitlines()[3]
    assert line == f"FLSD-53 dog        {before:.2f} → {after:.2f}"


def test_figure_9_refuses_the_labels_of_other_data(images):
    runs, data = images
    other = Split(data.test.x, data.test.y[::-1])
    with pytest.raises(ValueError, match="other labels of cifar10"):
        _samples.figure_9(runs, Data("cifar10", other, other, other, data.class_names))


def test_missing_images_do_not_stop_the_command(images, tmp_path, capsys):
    words = f"--runs {tmp_path} --out {tmp_path} --data-dir {tmp_path / 'none'} --figure 6 9"
    __main__.main(words.split())
    assert "figure 9 needs the images of its runs: " in capsys.readouterr().out


def test_nothing_drawn_is_no_success(tmp_path):
    with pytest.raises(SystemExit) as stopped:
        __main__.main(["--runs", f"{tmp_path}", "--out", f"{tmp_path / 'out'}", "--figure", "1"])
    assert stopped.value.code == 1


@pytest.mark.parametrize(
    "change", [{"crop": 0}, {"objective": "sum"}, {"mixed_precision": True}, {"data": {"train": 9}}]
)
def test_runs_of_other_data_or_training_are_not_drawn_together(tmp_path, change):
    write_snapshots(write_run(tmp_path, "CE"), 0)
    write_snapshots(write_run(tmp_path, "FL-1", **change), 0)
    with pytest.raises(MissingRunsError):
        with_snapshots("CE", "FL-1").pick(read(tmp_path))


def test_translations_that_were_measured_otherwise_are_not_drawn_together(tmp_path):
    for loss, beams in (("CE", 4), ("FL-1", 5)):
        folder = write_run(tmp_path, loss, "multi30k", network="transformer")
        found = {"ece": {"search": {"beams": beams}}}
        (folder / "translation.json").write_text(json.dumps(found))
    with pytest.raises(MissingRunsError):
        of_translation("CE", "FL-1").pick(read(tmp_path))


def test_a_run_that_diverged_is_not_drawn_but_named(tmp_path):
    folder = write_run(tmp_path, "CE")
    write_snapshots(folder, 0)
    z, y = np.full((4, CLASSES), np.nan, "float32"), np.zeros(4, "int32")
    Logits(z, y, z, y).save(folder / "logits.npz")
    with pytest.raises(MissingRunsError, match=f"diverged: {folder}"):
        with_snapshots("CE").pick(read(tmp_path))


def test_figure_10_draws_the_mean_norm_of_the_features(four):
    figure = _training.figure_10(four)
    assert is_inside_the_figure(*figure.axes)
    drawn = lines_of(figure.axes[0])
    assert [*drawn] == [*FOUR]
    for loss, run in four.items():
        expected = [found.train_feature_norms.mean() for found in run.snapshots()]
        np.testing.assert_allclose(drawn[loss], expected, rtol=1e-6)


def test_colours_and_dashes_are_those_of_the_package():
    ax = plotting.optimal_probability_plot([0.0, 1.0, 2.0, 3.0])
    mine = [plt.plot([0, 1], **_looks.look(loss))[0] for loss in FOUR]
    for line, other in zip(mine, ax.lines, strict=False):
        assert line.get_color() == other.get_color()
        assert line._unscaled_dash_pattern == other._unscaled_dash_pattern


def test_runs_of_a_figure_are_alike_in_all_but_the_loss(tmp_path):
    write_snapshots(write_run(tmp_path / "a", "CE", seed=1), 0)
    write_snapshots(write_run(tmp_path / "b", "FL-1", seed=2), 0)
    write_snapshots(write_run(tmp_path / "c", "CE", seed=2), 0)
    runs = with_snapshots("CE", "FL-1").pick(read(tmp_path))
    assert {run.seed for run in runs.values()} == {2}


@pytest.mark.parametrize("state", ["absent", "unfinished", "without snapshots"])
def test_missing_runs_are_named_with_their_command(tmp_path, state):
    write_snapshots(write_run(tmp_path, "CE", limit=1000), 0)
    if state != "absent":
        folder = write_run(tmp_path, "FL-1", limit=1000, finished=state != "unfinished")
        if state == "unfinished":
            write_snapshots(folder, 0)
    with pytest.raises(MissingRunsError) as caught:
        with_snapshots("CE", "FL-1").pick(read(tmp_path))
    assert str(caught.value) == (
        "finished runs of FL-1 with snapshots: python -m examples.paper.train --dataset cifar10 "
        "--network resnet50 --seed 1 --epochs 5 --objective mean --limit 1000 --loss FL-1 "
        "--snapshots all"
    )


def test_command_draws_what_it_can_and_says_what_it_lacks(tmp_path, capsys):
    arguments = ["--runs", tmp_path / "absent", "--out", tmp_path / "out", "--figure"]
    __main__.main([*map(str, arguments), *map(str, (1, 2, 3, 4, 5, 6, 9, 10))])
    drawn = {file.name for file in (tmp_path / "out").iterdir()}
    assert drawn == {"figure_04.png", "figure_06.png"}
    said = capsys.readouterr().out
    for number in (1, 2, 3, 4, 5, 9, 10):
        assert f"figure {number} needs finished runs of CE" in said
    assert "finished runs of CE, LS-0.1, FL-1 of translation" in said


def test_command_draws_figures_of_runs(four, tmp_path):
    __main__.main(["--runs", f"{tmp_path}", "--out", f"{tmp_path / 'out'}", "--figure", "1", "10"])
    for name in ("figure_01.png", "figure_10.png"):
        assert (tmp_path / "out" / name).stat().st_size > 10_000


def test_points_lie_at_the_corners_of_a_square_and_a_tenth_has_the_other_label():
    (x, y), (x_test, y_test) = _linear_model.points(0)
    assert [len(part) for part in (x, y, x_test, y_test)] == [4000, 4000, 1000, 1000]
    for side in (-1, 1):
        for other in (-1, 1):
            corner = x[(side * x[:, 0] > 0) & (other * x[:, 1] > 0)]
            np.testing.assert_allclose(corner.mean(0), [2 * side, 2 * other], atol=0.25)
    # With this seed the classes lie above and below.
    assert np.mean((x[:, 1] > 0) != y) == pytest.approx(0.1, abs=0.02)


@pytest.mark.nightly
def test_linear_model_is_trained_by_gradient_descent():
    model = _linear_model.trained(0)
    x, y = model.train
    sign = 2.0 * y - 1.0
    for loss, gamma in (("CE", 0.0), ("FL-1", 1.0)):
        w = np.zeros(2)
        for _ in range(_linear_model.ITERATIONS):
            p = 1.0 / (1.0 + np.exp(-sign * (x @ w)))
            ratio = (1 - p) ** gamma - gamma * p * np.log(p)
            w += _linear_model.LEARNING_RATE * ((ratio * (1 - p) * sign) @ x) / len(x)
        np.testing.assert_allclose(model.weights[loss][-1], w, rtol=1e-4, atol=1e-5)


@pytest.mark.nightly
def test_linear_model_depends_on_the_seed_alone(monkeypatch):
    model = _linear_model.trained(0)
    monkeypatch.setattr(_linear_model, "ITERATIONS", 3)
    again, other = (_linear_model.trained.__wrapped__(seed) for seed in (0, 1))
    for loss in ("CE", "FL-1"):
        np.testing.assert_array_equal(again.weights[loss], model.weights[loss][:4])
        assert not np.allclose(other.weights[loss], again.weights[loss])


def test_cross_entropy_grows_norms_and_wrong_confidences_beyond_focal_loss():
    figures = _linear_model.figures_of(0)
    for name in ("weight_norm", "logit_norm", "wrong_confidence", "wrong_above_90_percent"):
        assert figures["CE"][name] > figures["FL-1"][name]
    assert figures["decided_alike"] > 0.98


def test_figure_7_draws_norms_by_iteration():
    figure = _linear_model.figure_7(seeds=(0,))
    assert is_inside_the_figure(*figure.axes)
    model = _linear_model.trained(0)
    for loss in ("CE", "FL-1"):
        weights = model.weights[loss].astype("float64")
        of_logits, of_weights = (lines_of(ax)[loss] for ax in figure.axes)
        np.testing.assert_allclose(of_weights, np.hypot(*weights.T), rtol=1e-5)
        logits = np.abs(model.train[0].astype("float64") @ weights.T)
        np.testing.assert_allclose(of_logits, logits.mean(0), rtol=1e-5)


def test_figure_8_draws_the_confidence_of_wrong_points():
    figure = _linear_model.figure_8(seed=0)
    assert is_inside_the_figure(*figure.axes)
    model = _linear_model.trained(0)
    x, y = model.test
    for patch, loss in zip(figure.axes[0].patches, ("CE", "FL-1"), strict=True):
        z = x.astype("float64") @ model.weights[loss][-1]
        wrong = (z > 0) != y
        confidence = 1 / (1 + np.exp(-np.abs(z[wrong])))
        heights, edges, _ = patch.get_data()
        counts, _ = np.histogram(confidence, edges)
        np.testing.assert_allclose(heights, 100 * counts / wrong.sum(), rtol=1e-6)


def test_published_norms_are_those_of_the_command(tmp_path):
    _linear_model.publish(tmp_path / "linear_model.json", seeds=(0,))
    (mine,) = json.loads((tmp_path / "linear_model.json").read_text())["seeds"].values()
    published = json.loads((__main__.RESULTS / "linear_model.json").read_text())["seeds"]
    assert [int(seed) for seed in published] == [*_linear_model.SEEDS]
    for loss in ("CE", "FL-1"):
        for name in ("weight_norm", "logit_norm", "wrong_confidence"):
            assert published["0"][loss][name] == pytest.approx(mine[loss][name], rel=1e-3)
