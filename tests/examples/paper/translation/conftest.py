import gzip
import itertools

import pytest

pytest.importorskip("keras_hub")
pytest.importorskip("sentencepiece")
pytest.importorskip("sacrebleu")

from examples.paper import train

WORDS = {
    "a dog": "ein Hund",
    "a man": "ein Mann",
    "the woman": "die Frau",
    "runs": "rennt",
    "sleeps": "schläft",
    "sees a tall tree": "sieht einen hohen Baum",
    "": "",
    "in the park": "im Park",
    "on a very long wooden bench": "auf einer sehr langen Holzbank",
}
WORDS_BY_PLACE = (list(WORDS)[:3], list(WORDS)[3:6], list(WORDS)[6:])
SETTINGS = {
    "dataset": "multi30k",
    "network": "transformer",
    "size": "tiny",
    "loss": "LS-0.1",
    "epochs": 2,
    "vocabulary_size": 60,
    "batch_size": 64,
    "verbose": 0,
}


def command(**settings):
    """Return the words of the command of training with these settings, if not those above."""
    asked = {**SETTINGS, **settings}
    return [
        word
        for name, value in asked.items()
        for word in (f"--{name.replace('_', '-')}", f"{value}")
    ]


def write_toy_pairs(folder):
    folder.mkdir()
    parts = list(itertools.product(*WORDS_BY_PLACE))
    for name, rows in (("train", parts), ("val", parts[::4]), ("test_2016_flickr", parts[1::5])):
        for language in ("en", "de"):
            lines = [
                " ".join(w for w in ((p if language == "en" else WORDS[p]) for p in row) if w)
                for row in rows
            ]
            with gzip.open(folder / f"{name}.{language}.gz", "wt", encoding="utf-8") as file:
                file.write("".join(f"{line}.\n" for line in lines))


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory):
    """Folder of a data set of 27 sentences in the place of Multi30k."""
    data_dir = tmp_path_factory.mktemp("data")
    write_toy_pairs(data_dir / "multi30k")
    return data_dir


@pytest.fixture(scope="session")
def finished(toy_data, tmp_path_factory, pytestconfig):
    """Run folder of a tiny Transformer that the command trained."""
    if not pytestconfig.getoption("--nightly"):
        pytest.skip("a Transformer takes long to compile: run with --nightly")
    out = tmp_path_factory.mktemp("runs")
    train.main(command(data_dir=toy_data, out=out))
    (folder,) = out.iterdir()
    return folder


@pytest.fixture
def train_again(toy_data):
    """Run the command of training on the toy data in a folder, with other settings."""

    def run(out, **settings):
        train.main(command(**{"data_dir": toy_data, "out": out, **settings}))

    return run
