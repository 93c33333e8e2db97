"""ECE of the next token and BLEU, and what Table 3 and Figure 5 read of them."""

import json
import shutil

import numpy as np
import pytest
from keras import ops

from examples.paper import data, runs
from examples.paper.data.tokens import TokenBatches
from examples.paper.figures._translation import curves, figure_5
from examples.paper.tables.build import build, measured
from examples.paper.translation.__main__ import main
from examples.paper.translation.evaluate import TokenPredictions, evaluate, load, predict_tokens
from keras_focal import functional


@pytest.fixture(scope="module")
def parts(finished, toy_data):
    """The model, the tokenizer and the test pairs."""
    (run,) = runs.read(finished)
    return *load(run), data.load("multi30k", toy_data).test


@pytest.fixture(scope="module")
def evaluated(finished, toy_data, tmp_path_factory):
    """A run folder that the command has evaluated."""
    folder = tmp_path_factory.mktemp("evaluated") / finished.name
    shutil.copytree(finished, folder)
    main(
        f"{folder} --data-dir {toy_data} --temperatures 0.5 1 1.5 2 "
        "--bleu-temperatures 0.5 2 --beams 2 --sentences 3".split()
    )
    return folder


@pytest.mark.nightly
def test_command_writes_finite_figures(evaluated):
    found = json.loads((evaluated / "translation.json").read_text())
    assert sorted(found) == ["ece", "nll"]
    for figures in found.values():
        assert figures["T"] in (0.5, 1.0, 1.5, 2.0)
        for when in ("pre", "post"):
            assert np.isfinite(list(figures[when].values())).all()
            assert 0 <= figures[when]["ece"] <= 100
            assert 0 <= figures[when]["bleu"] <= 100
    ece = found["ece"]["ece_validation"]
    assert found["ece"]["T"] == found["ece"]["temperatures"][int(np.argmin(ece))]
    assert found["ece"]["search"]["sentences"] == 3


def test_a_damaged_or_diverged_model_is_named(finished, toy_data, tmp_path):
    folder = shutil.copytree(finished, tmp_path / finished.name)
    (folder / "tokens.model").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"tokens\.model.*damaged"):
        evaluate(folder, data_dir=toy_data)
    shutil.copy(finished / "tokens.model", folder)
    model, _ = load(runs.read(folder)[0])
    model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
    model.save_weights(folder / "model.weights.h5")
    with pytest.raises(ValueError, match="did not diverge"):
        evaluate(folder, data_dir=toy_data, temperatures=[1.0])
    (folder / "model.weights.h5").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"model\.weights\.h5.*damaged"):
        evaluate(folder, data_dir=toy_data)


@pytest.mark.nightly
def test_tables_and_figures_read_the_figures(evaluated):
    (run,) = runs.read(evaluated)
    row = next(row for row in build("3", measured([run], ["ece"])).rows if row.seeds)
    assert row.loss == "LS-0.1"
    assert all(np.isfinite(cell.mean) for cell in row.cells)
    temperatures, ece, bleu_temperatures, bleu = curves(run)
    assert temperatures.tolist() == [0.5, 1.0, 1.5, 2.0]
    assert len(ece) == len(temperatures)
    assert {0.5, 1.0, 2.0} <= set(bleu_temperatures)
    assert bleu[bleu_temperatures.tolist().index(1.0)] == row.cells[3].mean


@pytest.mark.nightly
def test_figure_5_is_drawn_of_the_figures(evaluated):
    (run,) = runs.read(evaluated)
    above, below = figure_5(dict.fromkeys(("CE", "LS-0.1", "FL-1"), run)).axes[::3]
    np.testing.assert_array_equal(above.lines[0].get_ydata(), curves(run).ece_validation)
    np.testing.assert_array_equal(below.lines[0].get_ydata(), curves(run).bleu_test)


def test_table_leaves_out_runs_that_were_not_measured(finished):
    assert measured(runs.read(finished), ["ece"]) == []


def test_unfinished_run_is_refused(finished, toy_data, tmp_path):
    settings = json.loads((finished / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps({**settings, "finished": False}))
    with pytest.raises(ValueError, match=r"finished run.*Received"):
        evaluate(tmp_path, data_dir=toy_data)


@pytest.mark.parametrize("name", ["temperatures", "bleu-temperatures"])
def test_a_temperature_of_0_is_refused_before_any_work(tmp_path, capsys, name):
    with pytest.raises(SystemExit):
        main([f"{tmp_path}", f"--{name}", "1", "0"])
    assert f"`--{name}` must be above 0. Received: [1.0, 0.0]" in capsys.readouterr().err


def test_a_folder_without_a_run_is_a_clear_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"RUN must be the folder of a run.*Received"):
        evaluate(tmp_path)


def test_a_run_that_is_no_translation_is_refused(tmp_path):
    settings = {"dataset": "sst", "network": "tree-lstm", "loss": "CE", "seed": 1}
    (tmp_path / "run.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=r"RUN must be a run of translation.*Received"):
        evaluate(tmp_path)


def test_numbers_below_1_are_refused(capsys):
    with pytest.raises(SystemExit):
        main(["runs", "--beams", "0"])
    assert "must be a whole number >= 1" in capsys.readouterr().err


@pytest.mark.nightly
def test_folders_that_were_measured_can_be_left_alone(evaluated, toy_data, capsys):
    before = (evaluated / "translation.json").stat().st_mtime_ns
    main([str(evaluated), "--data-dir", str(toy_data), "--missing"])
    assert (evaluated / "translation.json").stat().st_mtime_ns == before
    assert capsys.readouterr().out == ""


def test_temperature_one_leaves_the_probabilities(parts):
    model, tokenizer, pairs = parts
    batches = TokenBatches(pairs, tokenizer, 256, 64)
    found = predict_tokens(model, batches, (0.5, 1.0))
    rows, labels = [], []
    for index in range(len(batches)):
        inputs, ids, weights = batches[index]
        rows.append(ops.convert_to_numpy(model(inputs))[weights > 0].astype("float64"))
        labels.append(ids[weights > 0])
    logits, labels = np.concatenate(rows), np.concatenate(labels)
    for column, temperature in enumerate((0.5, 1.0)):
        p = np.exp(logits / temperature)
        p /= p.sum(axis=-1, keepdims=True)
        np.testing.assert_allclose(found.confidence[:, column], p.max(axis=-1), rtol=1e-4)
        nll = -np.log(p[np.arange(len(p)), labels])
        np.testing.assert_allclose(found.nll[:, column], nll, rtol=1e-4)
    np.testing.assert_array_equal(found.wrong, logits.argmax(axis=-1) != labels)
    wanted = functional.expected_calibration_error(
        labels, logits.astype("float32"), from_logits=True
    )
    assert found.errors()[1] == pytest.approx(float(wanted), abs=1e-5)


def test_padding_does_not_count(parts):
    model, tokenizer, pairs = parts
    few, many = (
        predict_tokens(model, TokenBatches(pairs, tokenizer, size, 64), (1.0,))
        for size in (64, 999)
    )
    assert len(few.wrong) == sum(len(ids) + 1 for ids in tokenizer.encode(pairs.target))
    assert len(few.wrong) == len(many.wrong)
    assert few.errors()[0] == pytest.approx(many.errors()[0], abs=1e-5)


def test_error_is_the_gap_of_each_bin():
    confidence = np.array([[0.9], [0.9], [0.3], [0.3]], "float32")
    wrong = np.array([0, 1, 1, 1], "float32")
    found = TokenPredictions(confidence, confidence, wrong)
    assert found.errors()[0] == pytest.approx((0.8 + 0.6) / 4)
