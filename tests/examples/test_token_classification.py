"""The tagger: readers name what is wrong, masks change nothing, entities are measured by hand."""

import gzip
import json
import warnings

import keras
import numpy as np
import pytest

TREES = {
    "train": "(4 (4 (2 A) (4 masterpiece)) (2 .))",
    "dev": "(2 (2 It) (2 (2 is) (2 (0 (1 not) (0 good)) (2 .))))",
    "test": "(2 (2 (2 Not) (2 much)) (2 .))",
}
TAGGED = {"train": "Ann B-PER\nruns O\n\n\nRome B-LOC\n", "dev": "Bob B-PER\n", "test": "He O\n"}


@pytest.fixture
def tagged(example):
    return example("shared.tagged")


@pytest.fixture
def tagger(example):
    return example("token_classification")


@pytest.fixture
def write(tmp_path):
    def written(parts, form="{}.txt"):
        for part, text in parts.items():
            opened = gzip.open if form.endswith(".gz") else open
            with opened(tmp_path / form.format(part), "wt", encoding="utf-8") as file:
                file.write(text)
        return tmp_path

    return written


def test_entities_of_trees_are_their_largest_short_phrases_of_strong_feeling(tagged, write):
    corpus = tagged.read_corpus(write(TREES, "sst_trees_{}.txt.gz"))
    (train,), (dev,), (test,) = corpus.values()
    assert train == (["A", "masterpiece", "."], ["B-POS", "I-POS", "I-POS"])
    assert dev == (["It", "is", "not", "good", "."], ["O", "O", "B-NEG", "I-NEG", "O"])
    assert test.tags == ["O", "O", "O"]


@pytest.mark.parametrize("others", [4, 7])
def test_other_words_of_a_longer_phrase_are_unclear_up_to_eight(others, tagged, write):
    tree = "(4 masterpiece)"
    for _ in range(others):
        tree = f"(2 (2 a) {tree})"
    parts = TREES | {"train": f"(4{tree[2:]}", "dev": f"(4 (2 a) {'(4' + tree[2:]})"}
    corpus = tagged.read_corpus(write(parts, "sst_trees_{}.txt.gz"))
    assert corpus["train"][0].tags == ["?"] * others + ["B-POS"]
    first = "?" if others + 2 <= 8 else "O"
    assert corpus["dev"][0].tags == [first] + ["?"] * others + ["B-POS"]


@pytest.mark.parametrize(
    ("tree", "reason"),
    [
        ("(2 (2 a) (2 b)", "a bracket is not closed"),
        ("(2 (2 a) (9 b))", r"not a tree near '\('"),
        ("(2 a))", r"not a tree near '\)'"),
        ("(2 )", r"not a tree near '\)'"),
        ("", "no words"),
    ],
)
def test_a_malformed_tree_is_named_with_file_and_line(tree, reason, tagged, write):
    folder = write(TREES | {"dev": f"{TREES['dev']}\n{tree}\n"}, "sst_trees_{}.txt.gz")
    with pytest.raises(SystemExit, match=rf"sst_trees_dev.txt.gz, line 2: {reason}"):
        tagged.read_corpus(folder)


def test_columns_of_conll_give_words_tags_and_sentences(tagged, write):
    four = "-DOCSTART- -X- O O\n\nEU NNP I-NP I-ORG\nrejects VBZ I-VP O\n? . O ?\nAnn NN X I-ORG\n"
    corpus = tagged.read_corpus(write(TAGGED | {"train": four + "Bob NN X I-PER\nX NN X B-PER"}))
    (sentence,) = corpus["train"]
    assert sentence.words == ["EU", "rejects", "?", "Ann", "Bob", "X"]
    assert sentence.tags == ["B-ORG", "O", "?", "B-ORG", "B-PER", "B-PER"]
    assert tagged.read_corpus(write(TAGGED))["train"] == [
        (["Ann", "runs"], ["B-PER", "O"]),
        (["Rome"], ["B-LOC"]),
    ]


@pytest.mark.parametrize(
    ("part", "lines", "reason"),
    [
        ("train", "Ann B-PER\nruns\n", r"train.txt, line 2: a word and its tag.*Received: 'runs'"),
        ("train", "Ann B-PER x\n", r"train.txt, line 1: a word and its tag"),
        ("dev", "\nAnn PER\n", r"dev.txt, line 2: a tag must be .* Received: 'PER'"),
        ("test", "In O\n\nUNO B-ORG\n", r"test.txt, line 3: no entity of the training .*'B-ORG'"),
        ("dev", "\n\n", r"dev.txt has no sentence"),
    ],
)
def test_a_malformed_line_is_named_with_file_and_number(part, lines, reason, tagged, write):
    with pytest.raises(SystemExit, match=reason):
        tagged.read_corpus(write(TAGGED | {part: lines}))


def test_a_missing_part_says_where_the_data_are_from_and_in_which_layout(tagged, write):
    folder = write({"train": TAGGED["train"]})
    with pytest.raises(SystemExit, match=r"Stanford Sentiment Treebank as .* no file of dev"):
        tagged.read_corpus(folder)
    with pytest.raises(SystemExit, match=r"lacks sst_trees_dev.txt.gz"):
        tagged.read_corpus(write({"train": TREES["train"]}, "sst_trees_{}.txt.gz"))


def test_a_damaged_archive_is_named(tagged, write):
    folder = write(TREES, "sst_trees_{}.txt.gz")
    (folder / "sst_trees_test.txt.gz").write_bytes(b"no archive")
    with pytest.raises(SystemExit, match=r"sst_trees_test.txt.gz cannot be read"):
        tagged.read_corpus(folder)


def test_padding_and_ignored_words_change_no_loss_and_no_metric(tagger, rng):
    model = tagger.tagger(num_words=30, num_tags=3)
    lengths = rng.integers(1, 9, size=(64, 1))
    x = np.where(np.arange(8) < lengths, rng.integers(1, 30, (64, 8)), 0)
    y = np.where(x == 0, tagger.IGNORED, rng.integers(-1, 3, x.shape))
    for setting, loss in tagger.SETTINGS.items():
        change = tagger.change_by_masks(model, loss([900, 50, 50]), x, y)
        assert change < tagger.ROUNDING, setting


def test_padding_whose_mask_a_layer_loses_is_an_error(tagger):
    x, y = np.array([[5, 6, 0]]), np.array([[1, 2, tagger.IGNORED]])
    loss = tagger.SETTINGS["cross-entropy"]([1, 1, 1])
    layers = [keras.layers.Embedding(9, 4, mask_zero=True), keras.layers.Conv1D(3, 1)]
    with pytest.warns(UserWarning, match="does not support masking"):
        model = keras.Sequential([keras.Input((None,)), *layers])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match="class ids"):
            tagger.change_by_masks(model, loss, x, y)


def test_a_word_of_padding_reaches_no_other(tagger):
    model = tagger.tagger(num_words=30, num_tags=3)
    short, long = (
        keras.ops.convert_to_numpy(model(np.array([[5, 6, *padding]]))) for padding in ([], 4 * [0])
    )
    np.testing.assert_allclose(short, long[:, :2], atol=1e-7)


def test_entities_have_the_product_of_their_words_and_are_right_if_exact(tagger):
    tags = ["O", "B-X", "I-X"]
    labels = np.array([[1, 2, 0, tagger.IGNORED], [0, 1] + 2 * [tagger.IGNORED]])
    p = np.array(
        [
            [[0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.9, 0.05, 0.05], [0.05, 0.9, 0.05]],
            [[0.3, 0.62, 0.08], [0.2, 0.75, 0.05], [0.2, 0.2, 0.6], [0.2, 0.6, 0.2]],
        ]
    )
    entities = tagger.Entities(labels, np.log(p), tags)
    np.testing.assert_array_equal(entities.is_right, [1, 0, 1])
    np.testing.assert_allclose(entities.product, [0.48, 0.62, 0.75])
    np.testing.assert_allclose(entities.minimum, [0.6, 0.62, 0.75])
    assert entities.f1(tags) == pytest.approx(0.8)  # 2 of 3 found are right, 2 of 2 are found
    ece = tagger.binary_ece(entities.is_right, entities.product).result()
    assert float(ece) == pytest.approx((0.52 + 0.62 + 0.25) / 3)


def test_sentences_without_an_entity_have_f1_0_and_no_calibration(tagger):
    logits = np.tile([5.0, 0.0, 0.0], (2, 3, 1))
    entities = tagger.Entities(np.zeros((2, 3), int), logits, ["O", "B-X", "I-X"])
    assert entities.is_right.shape == entities.product.shape == (0,)
    assert entities.f1(["O", "B-X", "I-X"]) == 0


@pytest.mark.nightly
def test_quick_form_measures_draws_and_resumes(
    tagger, real_data, monkeypatch, few_steps, tmp_path, capsys
):
    words = f"--data-dir {real_data / 'sst'} --quick --out {tmp_path}"
    monkeypatch.setattr("sys.argv", ["token_classification.py", *words.split()])
    name = "focal, class-balanced alpha"
    monkeypatch.setattr(tagger, "SETTINGS", {name: tagger.SETTINGS[name]})
    tagger.main()
    runs = json.loads((tmp_path / "runs.json").read_text())["runs"]
    assert [run["setting"] for run in runs] == [name]
    assert all(
        run["change_by_masks"] < tagger.ROUNDING and 0 < run["nll_scaled"] < 2 for run in runs
    )
    assert (tmp_path / "token_classification.png").stat().st_size > 10_000
    capsys.readouterr()
    tagger.main()
    assert "[1/" not in capsys.readouterr().out


def test_published_page_follows_from_the_published_runs(tagger, example):
    study = tagger.STUDY
    from shared.study import PAGES, RESULTS

    results = json.loads((RESULTS / "token_classification.json").read_text())
    page = study.page(results, tagger.found_text(results["runs"]))
    assert (PAGES / "token_classification.md").read_text() == page
    assert results["made_by"] == "python examples/token_classification.py --data-dir sst --publish"
