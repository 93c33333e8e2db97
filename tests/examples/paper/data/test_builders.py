"""Builders of tensorflow-datasets, on hand-made files laid out as in the archives."""

from pathlib import Path

import backends
import numpy as np
import pytest

from examples.paper.data import load
from examples.paper.data._datasets import prepared

tfds = pytest.importorskip("tensorflow_datasets", reason="needs the extra `datasets`")
pytest.importorskip("dill", reason="tfds.testing needs it")
builders = "examples.paper.data.builders"
newsgroups20 = pytest.importorskip(f"{builders}.newsgroups20.newsgroups20_dataset_builder")
sst_trees = pytest.importorskip(f"{builders}.sst_trees.sst_trees_dataset_builder")
tiny_imagenet = pytest.importorskip(f"{builders}.tiny_imagenet.tiny_imagenet_dataset_builder")

pytestmark = pytest.mark.skipif(
    backends.BACKEND != "tensorflow", reason="builders do not depend on the backend"
)
DUMMY = Path(__file__).parent / "dummy"


class BuilderCase(tfds.testing.DatasetBuilderTestCase):
    SKIP_CHECKSUMS = True
    DL_EXTRACT_RESULT = ""


class TestNewsgroups20(BuilderCase):
    DATASET_CLASS = newsgroups20.Builder
    EXAMPLE_DIR = DUMMY / "newsgroups20"
    SPLITS = {"train": 21}


class TestSstTrees(BuilderCase):
    DATASET_CLASS = sst_trees.Builder
    EXAMPLE_DIR = DUMMY / "sst_trees"
    SPLITS = {"train": 2, "validation": 2, "test": 1}


class TestTinyImagenet(BuilderCase):
    DATASET_CLASS = tiny_imagenet.Builder
    EXAMPLE_DIR = DUMMY / "tiny_imagenet"
    SPLITS = {"train": 4, "validation": 2}


del BuilderCase


@pytest.fixture(scope="module")
def prepare(tmp_path_factory):
    """A function that prepares a data set from the hand-made files and returns its folder."""

    def prepare(module):
        folder = tmp_path_factory.mktemp("prepared")
        builder = module.Builder(data_dir=folder)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                tfds.download.DownloadManager,
                "download_and_extract",
                lambda self, url: DUMMY / builder.name,
            )
            builder.download_and_prepare()
        return folder

    return prepare


def test_articles_keep_the_order_of_the_archive_and_lose_their_headers(prepare):
    folder = prepare(newsgroups20)
    (articles,), class_names = prepared(newsgroups20.Builder, ["train"], folder)
    np.testing.assert_array_equal(articles["label"], [0, *range(20)])
    assert class_names[0] == "alt.atheism"
    assert articles["text"][0].decode() == "An article on alt.atheism.\n\nGrüße\n"
    assert articles["text"][1].decode() == "An article without a header.\n"


def test_trees_whose_root_is_neutral_are_left_out(prepare):
    folder = prepare(sst_trees)
    (train, test), _ = prepared(sst_trees.Builder, ["train", "test"], folder)
    trees = [tree.decode() for tree in train["tree"]]
    assert trees == ["(3 (2 It) (4 (2 's) (3 good)))", "(0 (1 Dull) (2 .))"]
    assert train["label"].tolist() == [1, 0]
    assert test["tree"][0].decode() == "(3 (3 Warm) (2 café))"


def test_prepared_images_are_loaded_with_their_classes(prepare):
    data = load("tiny_imagenet", prepare(tiny_imagenet))
    assert data.num_classes == 200
    assert data.test.x.shape == (2, 64, 64, 3)
    assert [data.class_names[label] for label in data.test.y] == ["thing 1", "thing 0"]
    grey = data.test.x[1]
    np.testing.assert_array_equal(grey, np.broadcast_to(grey[..., :1], grey.shape))


def test_prepared_images_of_cifar_stand_in_the_order_of_the_original():
    with tfds.testing.mock_data(num_examples=20):
        (train,), class_names = prepared("cifar10", ["train"])
    ids = train["id"].tolist()
    assert ids == sorted(ids)
    assert train["image"].shape == (20, 32, 32, 3)
    assert len(class_names) == 10


def test_a_failed_download_says_what_to_do(monkeypatch):
    def fail(self):
        raise ConnectionError("no route")

    monkeypatch.setattr(sst_trees.Builder, "download_and_prepare", fail)
    with pytest.raises(OSError, match=r"sst_trees could not be downloaded; `--data-dir`.*no route"):
        prepared(sst_trees.Builder, ["train"])
