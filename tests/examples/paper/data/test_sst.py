"""The treebank: its sizes, and trees as arrays."""

import gzip
from itertools import islice

import numpy as np
import pytest
from nltk import Tree

from examples.paper.data import sst
from examples.paper.data.sst import encode, load_sst

SENTENCE = "(3 (2 (2 a) (1 dull)) (4 (2 but) (4 (2 so) (3 good))))"
VOCABULARY = ("", "<unknown>", "a", "but", "good", "so")


@pytest.fixture(scope="module")
def folder(real_data):
    if not (real_data / "sst").is_dir():
        pytest.skip(f"no treebank in {real_data}")
    return real_data


@pytest.fixture(scope="module")
def treebank(folder):
    return load_sst(folder)


@pytest.mark.nightly
def test_sizes_are_those_of_the_paper(treebank):
    assert [len(s) for s in (treebank.train, treebank.validation, treebank.test)] == [
        6920,
        872,
        1821,
    ]
    assert treebank.class_names == ("negative", "positive")
    assert [np.bincount(s.y[:, 0]).tolist() for s in (treebank.train, treebank.test)] == [
        [3310, 3610],
        [912, 909],
    ]


@pytest.mark.nightly
def test_every_training_tree_is_whole(treebank):
    x = treebank.train.x
    words, nodes = (x["height"] == 1).sum(axis=1), (x["height"] > 0).sum(axis=1)
    np.testing.assert_array_equal(nodes, 2 * words - 1)
    assert (x["word"][x["height"] == 1] > 1).all()
    assert ((x["left"] > 0) == (x["height"] > 1)).all()
    assert x["word"].max() == len(treebank.vocabulary) - 1


@pytest.mark.nightly
def test_held_out_sentences_count_at_the_root_alone(treebank):
    for split in (treebank.validation, treebank.test):
        assert (split.weight[:, 0] == split.weight.shape[1]).all()
        assert not split.weight[:, 1:].any()


def test_tree_is_encoded_root_first():
    split = encode([Tree.fromstring(SENTENCE)], VOCABULARY, width=11)
    rows = {name: values[0].tolist() for name, values in split.x.items()}
    assert rows["height"] == [4, 3, 2, 2, 1, 1, 1, 1, 1, 0, 0]
    assert rows["left"] == [2, 6, 4, 7, 0, 0, 0, 0, 0, 0, 0]
    assert rows["right"] == [1, 3, 5, 8, 0, 0, 0, 0, 0, 0, 0]
    assert rows["word"] == [0, 0, 0, 0, 2, 1, 3, 5, 4, 0, 0]
    assert split.y[0].tolist() == [1, 1, 0, 1, 0, 0, 0, 0, 1, 0, 0]
    assert (split.weight[0] > 0).tolist() == [True, True, False, True, False, True, False, False,
                                              True, False, False]  # fmt: skip


def test_mean_over_positions_is_the_sum_over_nodes():
    split = encode([Tree.fromstring(SENTENCE)], VOCABULARY, width=11)
    assert split.weight.mean() == 5.0


def test_vocabulary_is_that_of_training_sentences_that_are_not_neutral(tmp_path):
    folder = tmp_path / "sst"
    folder.mkdir()
    lines = {"train": "(3 (2 a) (3 1\xa01\\/2))\n(2 (2 no) (2 one))\n", "dev": "(1 (1 b) (2 a))\n"}
    for part in ("train", "dev", "test"):
        text = lines.get(part, lines["dev"])
        (folder / f"sst_trees_{part}.txt.gz").write_bytes(gzip.compress(text.encode()))
    data = load_sst(tmp_path)
    assert data.vocabulary == ("", "<unknown>", "1\xa01\\/2", "a")
    assert data.validation.x["word"].tolist() == [[0, 1, 3]]
    assert len(data.train) == 1


def test_absent_treebank_is_named(tmp_path):
    pytest.importorskip("tensorflow_datasets")
    with pytest.raises(FileNotFoundError, match=r"`--data-dir` must hold sst_trees"):
        load_sst(tmp_path)


def test_prepared_trees_are_those_of_the_local_copy(folder, tmp_path, monkeypatch):
    lines = {}
    local = tmp_path / "local/sst"
    local.mkdir(parents=True)
    for part in ("train", "dev", "test"):
        name = f"sst_trees_{part}.txt.gz"
        with gzip.open(folder / "sst" / name) as file:
            lines[part] = list(islice(file, 100))
        (local / name).write_bytes(gzip.compress(b"".join(lines[part])))

    def prepared(builder, splits, data_dir):
        trees = [[line.strip(b" \n") for line in of_part] for of_part in lines.values()]
        return [{"tree": of_part} for of_part in trees], ("negative", "positive")

    expected = load_sst(local.parent)
    monkeypatch.setattr(sst, "prepared", prepared)
    again = load_sst(tmp_path)
    assert again.vocabulary == expected.vocabulary
    np.testing.assert_array_equal(again.test.x["word"], expected.test.x["word"])
