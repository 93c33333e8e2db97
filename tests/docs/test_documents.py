"""The code of the documents runs, and what they say is what it printed."""

import re
import runpy
import subprocess
import sys
from configparser import ConfigParser

import documents
import keras
import numpy as np
import pytest
from backends import BACKEND
from documents import ROOT
from matplotlib import pyplot

import keras_focal

README = documents.README.read_text()
PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in [documents.README, *ROOT.glob("docs/**/*.md")]
    if not {"_build", "generated"} & {*path.parts}
)
# Run by tests of their own: below, and in tests/cli.
ELSEWHERE = {"README.md", "docs/guides/pictures.md", "docs/guides/command_line.md"}
# A distribution strategy stays with the process that made it.
OWN_PROCESS = {"docs/guides/devices.md"}
# What a document whose code needs an extra, needs of it.
EXTRA = {"docs/guides/streaming.md": "apache_beam"}


def is_the_same_everywhere(page):
    return documents.blocks(page, BACKEND) == documents.blocks(page, "tensorflow")


def is_run_by_day(page):
    """Whether it takes few seconds and, on another backend than the default, is written for it."""
    if BACKEND == "tensorflow":
        return page not in OWN_PROCESS
    return not is_the_same_everywhere(page)


WITH_CODE = [
    pytest.param(page, marks=[] if is_run_by_day(page) else pytest.mark.nightly)
    for page in PAGES
    if page not in ELSEWHERE and documents.blocks(page, BACKEND)
]


@pytest.fixture
def few_batches(monkeypatch, pytestconfig):
    """Fit for one epoch, and take 1000 rows in four batches; with --nightly as a document says."""
    if pytestconfig.getoption("--nightly"):
        return
    fit, evaluate = keras.Model.fit, keras.Model.evaluate

    def fit_less(model, x, *args, epochs=1, **kwargs):
        return fit(model, x, *args, **{**large(x), **kwargs})

    def evaluate_fast(model, x, *args, **kwargs):
        return evaluate(model, x, *args, **{**large(x), **kwargs})

    def large(x):
        return {"batch_size": 250} if len(x) >= 1000 else {}

    monkeypatch.setattr(keras.Model, "fit", fit_less)
    monkeypatch.setattr(keras.Model, "evaluate", evaluate_fast)


# A model that was fitted for one epoch may know nothing.
@pytest.mark.filterwarnings("ignore:The temperature lies at its")
@pytest.mark.parametrize("document", WITH_CODE)
def test_code_of_documents_runs(document, tmp_path, monkeypatch, few_steps, few_batches):
    if document in EXTRA:
        pytest.importorskip(EXTRA[document], reason="needs an extra")
    code = "\n".join(documents.blocks(document, BACKEND))
    monkeypatch.chdir(tmp_path)
    if document in OWN_PROCESS:
        command = [sys.executable, "-c", code]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        assert answer.returncode == 0, answer.stderr
        return
    documents.run(code)
    pyplot.close("all")


def test_ten_lines_of_the_readme_print_what_it_shows(tmp_path, monkeypatch):
    """On another machine or backend the weights are others, and so are the last digits."""
    pytest.importorskip("sklearn", reason="needs an extra")
    monkeypatch.chdir(tmp_path)
    printed = documents.run(documents.blocks("README.md")[0])
    shown = documents.printed_in_readme()
    number = re.compile(r"\d+\.\d+")
    assert number.sub("#", printed) == number.sub("#", shown)
    rows = [
        np.reshape([float(one) for one in number.findall(text)], (2, 3))
        for text in (printed, shown)
    ]
    np.testing.assert_allclose(rows[0][:, 0], rows[1][:, 0], rtol=0.2)
    np.testing.assert_allclose(rows[0][:, 1:], rows[1][:, 1:], atol=1.5)
    for cross_entropy, focal in rows:
        assert cross_entropy[1] > focal[1]
        assert cross_entropy[1] > cross_entropy[2]


@pytest.mark.nightly
@pytest.mark.skipif(BACKEND != "tensorflow", reason="guides run on the default backend")
def test_guide_of_pictures_draws_what_it_shows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["draw.py", f"{tmp_path}"])
    with pyplot.rc_context():
        runpy.run_path(f"{ROOT / 'docs/images/draw.py'}", run_name="__main__")
    pyplot.close("all")
    guide = (ROOT / "docs/guides/pictures.md").read_text()
    shown = re.findall(r"!\[.+\]\(\.\./images/(\S+)\)", guide)
    assert sorted(shown) == sorted(path.name for path in tmp_path.iterdir())
    for name in shown:
        published = ROOT / "docs/images" / name
        assert 5_000 < published.stat().st_size < 60_000
        # Width and height, at fixed places in a PNG.
        assert published.read_bytes()[16:24] == (tmp_path / name).read_bytes()[16:24]


def test_guide_of_pictures_shows_every_picture():
    code = "\n".join(documents.blocks("docs/guides/pictures.md"))
    assert {*re.findall(r"plotting\.(\w+)\(", code)} == {*keras_focal.plotting.__all__}


def test_gallery_shows_every_example():
    gallery = (ROOT / "docs/examples/index.md").read_text()
    headings = set(re.findall(r"^## (\S+?)/?$", gallery, re.M))
    examples = {path.name for path in (ROOT / "examples").iterdir()} - {
        "README.md",
        "__init__.py",
        "__pycache__",
    }
    assert headings == examples


def test_readme_of_examples_has_every_example_and_what_the_published_runs_cost():
    from examples.shared import costs

    text = costs.README.read_text()
    assert text.split(costs.BEGIN)[1].split(costs.END)[0] == costs.table()
    examples = {path.name for path in costs.README.parent.glob("*.py")} - {"__init__.py"}
    assert {*re.findall(r"^\| `(\w+\.py)` \| \w", text, re.M)} >= examples


@pytest.mark.parametrize(
    "document", [*PAGES, "CONTRIBUTING.md", "CHANGELOG.md", "examples/README.md"]
)
def test_links_between_documents_lead_somewhere(document):
    for link in re.findall(r"\]\(([^)#<>]+)\)", (ROOT / document).read_text()):
        if not link.startswith("http"):
            assert (ROOT / document).parent.joinpath(link).exists(), link


def test_readme_installs_from_the_address_in_the_metadata():
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    urls = dict(re.findall(r"(\w+) = (\S+)", setup["metadata"]["project_urls"]))
    assert set(re.findall(r"git clone (\S+)", README)) == {urls["Source"]}
    assert f"]({setup['metadata']['url']})" in README
    extras = {extra for found in re.findall(r'"\.\[(.+?)\]"', README) for extra in found.split(",")}
    assert extras <= {*setup["options.extras_require"]}


def test_no_document_installs_what_is_not_published():
    for page in PAGES:
        assert not re.search(r"pip install \"?keras[-_]focal", (ROOT / page).read_text()), page
