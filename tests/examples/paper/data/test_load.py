"""Data sets: their splits on real data, their words, their refusals."""

import hashlib
from itertools import pairwise

import backends
import numpy as np
import pytest

from examples.paper.data import _load, _split, cifar, load, newsgroups20, tiny_imagenet
from examples.paper.data._files import decode
from examples.paper.data.glove import glove
from examples.paper.files import DamagedFileError

pytestmark = pytest.mark.skipif(
    backends.BACKEND != "tensorflow", reason="data does not depend on the backend"
)
SIZES = {
    "cifar10": (45_000, 5_000, 10_000),
    "newsgroups20": (15_098, 900, 3_999),
    "tiny_imagenet": (9_000, 1_000, 2_000),
}
FOLDERS = {"cifar10": "cifar10_jpeg", "tiny_imagenet": "tiny_imagenet_subset"}


@pytest.fixture(
    scope="module",
    # 20 Newsgroups takes seconds to read.
    params=[
        pytest.param(name, marks=pytest.mark.nightly if name == "newsgroups20" else [])
        for name in SIZES
    ],
)
def data(request, real_data):
    name = request.param
    if not (real_data / FOLDERS.get(name, name)).is_dir():
        pytest.skip(f"{name} not found in {real_data}")
    # Reading 60,000 images takes long: what stands for each is a digest of its file.
    with pytest.MonkeyPatch.context() as patch:
        for module in (cifar, tiny_imagenet):
            patch.setattr(module, "decode", digests_of_files)
        yield load(name, real_data)
    _load.cache_clear()


def digests_of_files(encoded, offsets):
    files = (encoded[start:end].tobytes() for start, end in pairwise(offsets))
    digests = b"".join(hashlib.blake2b(file, digest_size=12).digest() for file in files)
    return np.frombuffer(digests, np.uint8).reshape(-1, 2, 2, 3)


def parts_of(data):
    return data.train, data.validation, data.test


def test_parts_have_the_sizes_of_the_paper(data):
    assert tuple(map(len, parts_of(data))) == SIZES[data.name]
    for part in parts_of(data):
        assert (part.y.dtype, part.weight) == (np.int32, None)
        assert part.x.dtype == (np.uint8 if data.vocabulary is None else np.int32)
        assert len(part.x) == len(part)


def test_images_are_decoded(real_data):
    folder = real_data / "cifar10_jpeg"
    if not folder.is_dir():
        pytest.skip(f"cifar10 not found in {real_data}")
    with np.load(folder / "cifar10_train_jpeg.npz") as arrays:
        images = decode(arrays["bytes"], arrays["offsets"][:31])
    with np.load(folder / "cifar10_2k_subset_decoded.npz") as arrays:
        np.testing.assert_array_equal(images, arrays["x_train"][:30])


def test_no_image_is_in_two_parts(data):
    if data.vocabulary is not None:
        pytest.skip("the original 20 Newsgroups holds articles more than once")
    train, validation, test = ({sample.tobytes() for sample in part.x} for part in parts_of(data))
    assert not train & validation
    assert not (train | validation) & test


def test_classes_are_balanced(data):
    for part in parts_of(data):
        counts = np.bincount(part.y, minlength=data.num_classes)
        assert len(counts) == data.num_classes
        # Drawn at random, a count differs from the mean by a few standard deviations.
        assert np.abs(counts - counts.mean()).max() < 4 * np.sqrt(counts.mean())
    if data.name == "tiny_imagenet":
        assert set(np.bincount(data.validation.y)) == {5}


def test_a_limit_keeps_the_first_training_samples(data, real_data):
    few = load(data.name, real_data, limit=30)
    np.testing.assert_array_equal(few.train.x, data.train.x[:30])
    np.testing.assert_array_equal(few.train.y, data.train.y[:30])
    assert (len(few.validation), len(few.test)) == SIZES[data.name][1:]


def test_articles_hold_ids_of_words_with_padding_in_front(data):
    if data.vocabulary is None:
        pytest.skip("images")
    x, size = data.train.x, len(data.vocabulary)
    assert (x.shape[1], size) == (1000, 20_000)
    assert (x.min(), x.max()) == (0, size - 1)
    assert (np.diff((x > 0).astype(int), axis=1) >= 0).all()
    assert np.isin(np.arange(2, size), x).mean() > 0.95
    assert (x == 1).sum() < 0.06 * (x > 0).sum()


def test_the_split_of_articles_is_that_of_the_papers_code():
    state = np.random.get_state()
    try:
        rows = np.arange(19_997)
        np.random.seed(1)
        np.random.shuffle(rows)
    finally:
        np.random.set_state(state)
    np.testing.assert_array_equal(_split.shuffled(19_997), rows)


def test_a_tenth_of_each_class_is_held_out():
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(7), 30))
    kept, held_out = _split.tenth_of_each_class(labels)
    np.testing.assert_array_equal(np.sort(np.append(kept, held_out)), np.arange(210))
    assert np.bincount(labels[held_out]).tolist() == [3] * 7


def test_words_are_cut_from_the_front_and_unknown_ones_are_1():
    vocabulary = newsgroups20.most_frequent([["b", "a", "b"], ["c", "b", "a"]], 4)
    assert vocabulary == ("", "<unknown>", "b", "a")
    ids = newsgroups20.encode([["b"], ["a", "b", "c", "a"], []], vocabulary, 3)
    np.testing.assert_array_equal(ids, [[0, 0, 2], [2, 1, 3], [0, 0, 0]])


def test_words_have_letters_and_digits_and_inner_apostrophes():
    text = "Don't 'quote' me_too: x1, 3.5 -- naïve"
    words = ["Don't", "quote", "me", "too", "x1", "3", "5", "naïve"]
    assert newsgroups20.WORD.findall(text) == words


def test_vectors_stand_in_the_rows_of_their_words(tmp_path):
    file = tmp_path / "glove.6B.2d.txt"
    file.write_text("the 1.5 -2\nnever 3 3\ncat 0.25 4\n")
    vectors = glove(("", "<unknown>", "cat", "the", "dog"), file, dimension=2)
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, [[0, 0], [0, 0], [0.25, 4], [1.5, -2], [0, 0]])
    with pytest.raises(FileNotFoundError, match=r"`--glove`.*glove.6B.100d.txt"):
        glove(("",), tmp_path / "none.txt")


def test_vectors_of_another_length_are_refused(tmp_path):
    file = tmp_path / "glove.6B.2d.txt"
    file.write_text("the 1.5 -2\nnever 3\n")
    with pytest.raises(ValueError, match=r"a word and 2 numbers.*Received: 1 on line 2"):
        glove(("", "<unknown>", "the"), file, dimension=2)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("newsgroups20", "newsgroups20/newsgroups20_original_19997.jsonl.gz"),
        ("sst", "sst/sst_trees_dev.txt.gz"),
    ],
)
def test_a_damaged_text_is_named(real_data, tmp_path, name, file):
    (tmp_path / name).mkdir()
    for whole in (real_data / name).glob("*.gz"):
        (tmp_path / name / whole.name).symlink_to(whole)
    (tmp_path / file).unlink()
    (tmp_path / file).write_bytes((real_data / file).read_bytes()[:5000])
    with pytest.raises(DamagedFileError, match=f"{file}.*damaged"):
        load(name, tmp_path)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"cifar10, cifar100, multi30k.*Received: 'mnist'"):
        load("mnist")


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "newsgroups20", "tiny_imagenet"])
def test_a_folder_without_the_data_set_is_named(name, tmp_path):
    pytest.importorskip("tensorflow_datasets")
    with pytest.raises(FileNotFoundError, match=f"`--data-dir` must hold {name}.*{tmp_path.name}"):
        load(name, tmp_path)


def records(labels, images):
    """Records of the binary archive: labels, then the pixels of each channel."""
    pixels = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    return np.concatenate([labels, pixels], axis=1).astype(np.uint8).tobytes()


def images_of(count):
    return np.random.default_rng(count).integers(0, 256, (count, 32, 32, 3), "uint8")


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_the_binary_archive_is_read_in_its_order(tmp_path, name):
    x, x_test = images_of(40), images_of(6)
    y, y_test = np.arange(40)[:, None] % 3, np.arange(6)[:, None] % 3
    names = "one\ntwo\nthree\n"
    if name == "cifar10":
        folder = tmp_path / "cifar-10-batches-bin"
        folder.mkdir()
        for number in range(5):
            part = slice(8 * number, 8 * number + 8)
            (folder / f"data_batch_{number + 1}.bin").write_bytes(records(y[part], x[part]))
        (folder / "test_batch.bin").write_bytes(records(y_test, x_test))
        (folder / "batches.meta.txt").write_text(f"{names}\n")
    else:
        folder = tmp_path / "cifar-100-binary"
        folder.mkdir()
        for part, labels, images in (("train", y, x), ("test", y_test, x_test)):
            both = np.concatenate([labels + 7, labels], axis=1)
            (folder / f"{part}.bin").write_bytes(records(both, images))
        (folder / "fine_label_names.txt").write_text(names)
    data = load(name, tmp_path)
    assert data.class_names == ("one", "two", "three")
    rows = _split.shuffled(40)
    np.testing.assert_array_equal(data.validation.x, x[rows[:4]])
    np.testing.assert_array_equal(data.train.x, x[rows[4:]])
    np.testing.assert_array_equal(data.train.y, y[rows[4:], 0])
    np.testing.assert_array_equal(data.test.x, x_test)
    np.testing.assert_array_equal(data.test.y, y_test[:, 0])
    next(folder.glob("*.bin")).write_bytes(b"\0" * 100)
    _load.cache_clear()
    with pytest.raises(ValueError, match=r"\.bin.*damaged"):
        load(name, tmp_path)


@pytest.mark.parametrize(("name", "classes"), [("cifar10", 10), ("cifar100", 100)])
def test_arrays_by_the_names_of_keras_are_read(tmp_path, name, classes):
    x, x_test = images_of(40), images_of(6)
    y = np.arange(40, dtype="uint8")[:, None] % classes
    np.savez(tmp_path / f"{name}.npz", x_train=x, y_train=y, x_test=x_test, y_test=y[:6])
    data = load(name, tmp_path)
    assert data.num_classes == classes
    np.testing.assert_array_equal(data.test.x, x_test)
    np.testing.assert_array_equal(data.train.y, y[_split.shuffled(40)[4:], 0])
    assert data.train.y.dtype == np.int32


def test_a_damaged_copy_is_named(tmp_path):
    folder = tmp_path / "cifar10_jpeg"
    folder.mkdir()
    (folder / "cifar10_train_jpeg.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"cifar10_train_jpeg\.npz.*damaged"):
        load("cifar10", tmp_path)


def test_a_limit_below_1_is_refused():
    with pytest.raises(ValueError, match=r"`--limit`.*Received: 0"):
        load("cifar10", limit=0)
