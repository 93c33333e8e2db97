"""The example of detection: it runs, names bad data, and its page follows from its results."""

import json

import keras
import numpy as np
import pytest
from PIL import Image

SIZE = (64, 48)


@pytest.fixture
def boxes(example):
    return example("shared.boxes")


def jpeg(path, size=(40, 30), color=(200, 0, 0)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)


@pytest.fixture
def coco(tmp_path):
    """Write a data set in the layout of COCO: two images for training, one for test."""

    def write(annotations=(), damaged=()):
        of_split = {"train2017": ["a.jpg", "b.jpg"], "val2017": ["c.jpg"]}
        for split, names in of_split.items():
            for name in names:
                jpeg(tmp_path / split / name)
                if name in damaged:
                    (tmp_path / split / name).write_bytes(b"no image")
            images = [{"id": i, "file_name": name} for i, name in enumerate(names)]
            given = [{"image_id": 0, "category_id": 7, "bbox": [10, 15, 20, 15]}]
            categories = [{"id": 7, "name": "cat"}, {"id": 9, "name": "dog"}]
            if split == "train2017":
                given += annotations
            file = tmp_path / f"annotations/instances_{split}.json"
            file.parent.mkdir(exist_ok=True)
            content = {"images": images, "annotations": given, "categories": categories}
            file.write_text(json.dumps(content))
        return tmp_path

    return write


@pytest.fixture
def voc(tmp_path):
    """Write a data set in the layout of Pascal VOC: an image for training and one for test."""

    def write(test_label="cat"):
        for name, label in (("a", "cat"), ("b", test_label)):
            jpeg(tmp_path / f"JPEGImages/{name}.jpg")
            file = tmp_path / f"Annotations/{name}.xml"
            file.parent.mkdir(exist_ok=True)
            corners = "<xmin>10</xmin><ymin>15</ymin><xmax>30</xmax><ymax>30</ymax>"
            file.write_text(
                f"<annotation><filename>{name}.jpg</filename><object><name>{label}</name>"
                f"<bndbox>{corners}</bndbox></object></annotation>"
            )
        lists = tmp_path / "ImageSets/Main"
        lists.mkdir(parents=True)
        (lists / "train.txt").write_text("a\n")
        (lists / "test.txt").write_text("b  1\n")
        return tmp_path

    return write


@pytest.mark.parametrize("layout", ["coco", "voc"])
def test_boxes_are_scaled_with_their_images(layout, boxes, request):
    data = boxes.read(request.getfixturevalue(layout)(), SIZE)
    assert data.classes == {"coco": ["cat", "dog"], "voc": ["cat"]}[layout]
    assert data.train.images.shape[1:] == (48, 64, 3)
    np.testing.assert_allclose(data.train.boxes[0, 0], [16, 24, 48, 48])
    assert data.train.labels[0, 0] == 0
    # Every image ends in padding, which KerasHub needs.
    assert (data.train.boxes[:, -1] == -1).all()
    assert (data.train.labels[:, -1] == -1).all()


@pytest.mark.parametrize(
    ("box", "category", "sentence"),
    [
        ([30, 5, 20, 10], 9, "Boxes that reach out of their image, cut: 1, in b.jpg."),
        ([50, 5, 20, 10], 9, "Boxes outside their image, skipped: 1, in b.jpg."),
        ([5, 5, 0, 10], 9, "Boxes without area, skipped: 1, in b.jpg."),
        ([5, 5, 9, 9], 8, "Boxes of an unknown class, skipped: 1, in b.jpg."),
    ],
)
def test_flawed_box_is_named_in_a_sentence(box, category, sentence, boxes, coco, capsys):
    folder = coco([{"image_id": 1, "category_id": category, "bbox": box}])
    data = boxes.read(folder, SIZE)
    said = capsys.readouterr().out.splitlines()
    is_cut = "cut" in sentence
    assert said[0] == sentence
    assert ("No box of the training images is of class dog." in said) == (not is_cut)
    np.testing.assert_allclose(
        data.train.boxes[1, 0], [48, 8, 64, 24] if is_cut else [-1] * 4, atol=1e-5
    )


def test_image_that_does_not_decode_is_named_and_skipped(boxes, coco, capsys):
    data = boxes.read(coco(damaged=["a.jpg"]), SIZE)
    assert "Images that do not decode, skipped: 1, in a.jpg." in capsys.readouterr().out
    assert len(data.train.images) == 1


def test_split_without_images_is_an_error(boxes, coco):
    folder = coco(damaged=["c.jpg"])
    with pytest.raises(SystemExit, match="has no test image that decodes"):
        boxes.read(folder, SIZE)


def test_class_that_only_test_images_have_is_unknown(boxes, voc, capsys):
    boxes.read(voc(test_label="dog"), SIZE)
    said = capsys.readouterr().out
    assert "Boxes of an unknown class, skipped: 1, in b.jpg." in said
    assert "No box of the test images is of class cat." in said


def test_other_folder_says_where_to_get_data_and_in_which_layout(boxes, tmp_path):
    with pytest.raises(SystemExit, match=r"bccd.npz.*cocodataset.org.*host.robots.ox.ac.uk"):
        boxes.read(tmp_path, SIZE)


def test_missing_split_is_named(boxes, coco, voc):
    folder = coco()
    (folder / "annotations/instances_val2017.json").unlink()
    with pytest.raises(SystemExit, match=r"has no \*_val\*.json"):
        boxes.read(folder, SIZE)


def test_missing_list_of_images_is_named(boxes, voc):
    folder = voc()
    (folder / "ImageSets/Main/test.txt").unlink()
    with pytest.raises(SystemExit, match=r"has no .*test.txt or .*val.txt"):
        boxes.read(folder, SIZE)


@pytest.mark.parametrize("words", [["--size", "60", "48"], ["--data-dir", "nowhere"]])
def test_bad_options_are_named(words, run_example, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run_example("detection", "--data-dir", tmp_path, "--out", tmp_path / "out", *words)
    assert f"{words[0]} must be" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_every_loss_takes_what_the_detector_gives(example):
    """One-hot rows and weights of anchors, as of KerasHub's RetinaNet."""
    targets = np.eye(4, 3, dtype="float32")[[[0, 3, 1, 3], [3, 3, 2, 3]]]
    logits = np.linspace(-4, 4, 24, dtype="float32").reshape(2, 4, 3)
    weights = np.array([[1, 1, 0, 1], [1, 1, 1, 0]], "float32") / 3
    settings = example("detection").SETTINGS
    values = {
        name: float(how["loss"]()(targets, logits, weights)) for name, how in settings.items()
    }
    assert values["focal of Keras"] == pytest.approx(values["focal, gamma 2"], rel=1e-5)
    assert values["focal, FLSD-53"] < values["focal, gamma 2"] < values["cross-entropy"]


def test_measures_are_those_of_boxes_that_were_found_and_missed(example):
    """Two objects: one is found with IoU 0.8, one missed; another box is of nothing."""
    retinanet, boxes = example("shared.retinanet"), example("shared.boxes")
    truth = np.array([[[0, 0, 10, 10], [20, 20, 30, 30], [-1, -1, -1, -1]]], "float32")
    labels = np.array([[0, 1, -1]], "float32")
    split = boxes.Split(np.zeros((1, 40, 40, 3), "uint8"), truth, labels)
    found = {
        "boxes": np.array([[[0, 0, 10, 8], [30, 0, 40, 10], [-1, -1, -1, -1]]], "float32"),
        "labels": np.array([[0, 1, -1]]),
        "confidence": np.array([[0.75, 0.25, -1.0]], "float32"),
    }
    got = retinanet.measure(found, boxes.Data(split, split, ["cat", "dog"]))
    assert got["ap50"] == pytest.approx(0.5)
    assert got["ap50_by_class"] == pytest.approx([1.0, 0.0])
    # Of the ten thresholds 0.5, 0.55, ... 0.95 an IoU of 0.8 passes seven.
    assert got["map"] == pytest.approx(0.35)
    assert got["d_ece"] == pytest.approx(0.25)
    assert got["la_ece"] == pytest.approx((0.05 + 0.25) / 2, abs=1e-6)
    assert (got["boxes"], got["boxes_half"], got["d_ece_half"]) == (2, 1, pytest.approx(0.25))


def test_detector_that_finds_nothing_has_no_calibration(example):
    retinanet, boxes = example("shared.retinanet"), example("shared.boxes")
    truth, labels = np.array([[[0, 0, 9, 9]]], "float32"), np.zeros((1, 1), "float32")
    split = boxes.Split(np.zeros((1, 40, 40, 3), "uint8"), truth, labels)
    found = {"boxes": -np.ones((1, 1, 4)), "labels": -np.ones((1, 1)), "confidence": [[-1.0]]}
    found = {name: np.array(part) for name, part in found.items()}
    got = retinanet.measure(found, boxes.Data(split, split, ["cat"]))
    assert got == {"map": 0, "ap50": 0, "ap50_by_class": [0], "boxes": 0, "boxes_half": 0}


@pytest.mark.nightly
def test_quick_form_trains_measures_and_draws(run_example, few_steps, real_data, tmp_path, capsys):
    arguments = ("--data-dir", real_data / "bccd", "--out", tmp_path, "--quick", "--size", 64, 48)
    module = run_example("detection", *arguments)
    runs = json.loads((tmp_path / "runs.json").read_text())["runs"]
    assert [run["setting"] for run in runs] == ["focal, FLSc-531"]
    # After two epochs there may be no box to calibrate.
    figures = {f.name: runs[0][f.name] for f in module.FIGURES if f.name in runs[0]}
    assert {"map", "ap50", "boxes", "loss"} <= set(figures)
    assert ("d_ece" in figures) == (figures["boxes"] > 0)
    assert np.isfinite([*figures.values()]).all()
    assert len(runs[0]["losses"]) == 2
    assert (tmp_path / "detection.png").stat().st_size > 0
    keras.utils.clear_session()


def test_page_follows_from_the_results(example):
    detection, study = example("detection"), example("shared.study")
    results = json.loads((study.RESULTS / "detection.json").read_text())
    text = detection.text(results["runs"], ["Platelets", "RBC", "WBC"])
    page = (study.PAGES / "detection.md").read_text()
    assert detection.STUDY.page(results, text) == page
    assert len({run["seed"] for run in results["runs"]}) >= 2
