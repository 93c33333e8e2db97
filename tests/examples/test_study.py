"""The plumbing of the comparisons: runs resume, bad options cost nothing, pages follow the runs."""

import json
import sys

import numpy as np
import pytest


@pytest.fixture
def study(example, monkeypatch, tmp_path):
    module = example("shared.study")
    for name in ("PAGES", "RESULTS", "IMAGES"):
        monkeypatch.setattr(module, name, tmp_path / name.lower())
        (tmp_path / name.lower()).mkdir()
    # Which takes seconds after other tests.
    monkeypatch.setattr(module.keras.utils, "clear_session", lambda: None)
    return module


@pytest.fixture
def two(study):
    figures = [study.Figure("nll", "NLL"), study.Figure("hits", "hits %", "more", 100, 1)]
    return study.Study("two", "Two settings.\n\nA text.", "plain", figures)


@pytest.fixture
def parse(study, two, monkeypatch):
    def parsed(*words, data=None):
        monkeypatch.setattr(sys, "argv", ["two.py", *map(str, words)])
        return two.parse(two.parser(epochs=5, seeds=3, data=data))

    return parsed


def settings(trained, fail_at=None):
    def train(name):
        def once(seed):
            if (name, seed) == fail_at:
                raise KeyboardInterrupt
            trained.append((name, seed))
            better = name == "focal"
            return {"nll": 1 - 0.5 * better + 0.01 * seed, "hits": 0.5 - 0.1 * better}

        return once

    return {name: train(name) for name in ("plain", "focal")}


def draw(runs, file):
    file.write_bytes(b"picture")


def test_a_killed_study_goes_on_with_the_runs_that_are_missing(two, parse, tmp_path):
    arguments, first, second = parse("--out", tmp_path / "out"), [], []
    with pytest.raises(KeyboardInterrupt):
        two.run(arguments, settings(first, fail_at=("plain", 1)))
    runs = two.run(arguments, settings(second))
    assert first == [("plain", 0), ("focal", 0)]
    assert second == [("plain", 1), ("focal", 1), ("plain", 2), ("focal", 2)]
    assert [(run["setting"], run["seed"]) for run in runs] == first + second


def test_more_seeds_add_to_the_runs_that_are_there(two, parse, tmp_path):
    two.run(parse("--out", tmp_path, "--seeds", 1), settings([]))
    trained = []
    assert len(two.run(parse("--out", tmp_path, "--seeds", 2), settings(trained))) == 4
    assert trained == [("plain", 1), ("focal", 1)]


def test_runs_with_other_options_are_never_mixed(two, parse, tmp_path):
    two.run(parse("--out", tmp_path), settings([]))
    with pytest.raises(SystemExit, match="epochs 5: give another --out"):
        two.run(parse("--out", tmp_path, "--epochs", 6), settings([]))


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"runs": []}'])
def test_damaged_runs_are_named_and_kept(damage, two, parse, tmp_path):
    file = tmp_path / "runs.json"
    file.write_text(damage)
    with pytest.raises(SystemExit, match=r"runs.json is damaged: move it away"):
        two.run(parse("--out", tmp_path), settings([]))
    assert file.read_text() == damage


@pytest.mark.parametrize(
    "words",
    [
        ["--epochs", 0],
        ["--seeds", 0],
        ["--seed", -1],
        ["--publish", "--quick"],
        ["--publish", "--seeds", 1],
    ],
)
def test_bad_options_are_named_before_anything_is_written(words, parse, tmp_path, capsys):
    with pytest.raises(SystemExit):
        parse("--out", tmp_path / "out", *words)
    assert words[0] in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_missing_data_folder_says_what_it_must_hold(parse, tmp_path, capsys):
    with pytest.raises(SystemExit):
        parse("--data-dir", tmp_path / "none", data="images as `images.npz`")
    error = " ".join(capsys.readouterr().err.split())
    assert "--data-dir must be a folder with images as `images.npz`. Received:" in error


def test_page_has_means_spread_and_differences_of_the_same_seeds(two, study, parse, tmp_path):
    arguments = parse("--out", tmp_path / "out", "--publish")
    two.report(arguments, two.run(arguments, settings([])), draw, text="More.")
    page = (study.PAGES / "two.md").read_text()
    assert page.startswith("# Two settings\n\nA text.\n\n```bash\npython examples/two.py\n```")
    assert "| plain | 1.0100 ± 0.0100 | 50.0 ± 0.0 |" in page
    assert "| focal | **-0.5000 ± 0.0000** | *-10.0 ± 0.0* |" in page
    assert "More." in page
    assert "![Two settings](../images/examples/two.png)" in page
    results = json.loads((study.RESULTS / "two.json").read_text())
    assert results["made_by"] == "python examples/two.py --publish"
    assert str(tmp_path) not in json.dumps(results)
    assert two.page(results, "More.") == page
    assert (study.IMAGES / "two.png").read_bytes() == b"picture"


def test_a_figure_that_a_setting_lacks_is_a_dash(two, study):
    runs = [
        {"setting": name, "seed": seed, "seconds": 1.0, "nll": nll}
        for seed in range(2)
        for name, nll in (("plain", 1.0), ("focal", float("nan")))
    ]
    page = two.page({"made_by": "", "versions": {}, "runs": runs})
    assert "| focal | - | - |" in page
    assert np.isnan(two.values(runs, "focal", "hits")).all()


def test_each_data_set_has_its_tables_and_its_baseline(two, study):
    runs = [
        {
            "setting": f"{data}: {name}",
            "seed": seed,
            "seconds": 1.0,
            "nll": nll + 0.1 * seed,
            "hits": 1,
        }
        for seed in range(2)
        for data, name, nll in (
            ("A", "plain", 1.0),
            ("A", "focal", 2.0),
            ("B", "plain", 4.0),
            ("B", "focal", 3.0),
        )
    ]
    page = two.page({"made_by": "", "versions": {}, "runs": runs})
    assert page.count("### A\n\n|") == page.count("### B\n\n|") == 2
    assert page.index("| focal | 2.0500") < page.index("### B") < page.index("| focal | 3.0500")
    assert page.index("| focal | *+1.0000") < page.index("| focal | **-1.0000")
    assert "| plain |" not in page.partition("## Against plain")[2]
    nll = two.figures[0]
    assert [two.gain(runs, f"{data}: focal", nll) for data in "AB"] == [-1, 1]
    assert study.data_sets(runs) == ["A", "B"]
