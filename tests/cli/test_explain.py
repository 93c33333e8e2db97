"""keras-focal explain: every step of the focal loss is that of the 50-digit oracle."""

import json

import json_schema
import numpy as np
import pytest
import reference

from keras_focal.cli import main

CASES = [
    ("4,1,-1", 0, "2", 2.0),
    ("0.5,1.5,1", 0, "2", 2.0),
    ("-1,2", 0, "0.5", 0.5),
    ("0,0,0,0", 3, "0", 0.0),
    ("50,0,-3", 0, "2", 2.0),
    ("-60,3,3", 0, "5", 5.0),
    ("1,2,3", 0, "FLSD-53", 5.0),
    ("1,2,3", 2, "FLSD-532", 2.0),
    ("1,1.2,0.7", 1, "FLSD-532", 3.0),
]


@pytest.mark.parametrize(("logits", "label", "given", "gamma"), CASES)
def test_every_step_is_the_oracle_s(capsys, logits, label, given, gamma):
    assert (
        main(["explain", "--logits", logits, "--label", str(label), "--gamma", given, "--json"])
        == 0
    )
    found = json.loads(capsys.readouterr().out)
    row = [float(part) for part in logits.split(",")]
    loss, gradient = reference.sparse_focal(label, row, gamma)
    p = reference.softmax(row)
    rest = reference.complements(p)[label]
    assert found["gamma"] == gamma
    np.testing.assert_allclose(found["probabilities"], [float(x) for x in p], rtol=1e-7)
    assert found["p"] == found["probabilities"][label]
    assert found["cross_entropy"] == pytest.approx(reference.sparse_focal(label, row, 0)[0], 1e-7)
    assert found["modulating_factor"] == pytest.approx(float(rest**gamma), rel=1e-7)
    assert found["focal_loss"] == pytest.approx(loss, rel=1e-7)
    np.testing.assert_allclose(found["gradient"], gradient, rtol=1e-7)
    slope = reference.focal_slope(p[label], rest, gamma)
    assert found["gradient_ratio"] == pytest.approx(float(slope), rel=1e-7)


def test_table_has_every_gamma(capsys):
    main(["explain", "--logits", "4,1,-1", "--label", "0", "--json"])
    found = json.loads(capsys.readouterr().out)
    json_schema.check("explain", found)
    table = found["gammas"]
    assert [*table] == ["0", "0.5", "1", "2", "3", "5", "FLSD-53"]
    for name, row in table.items():
        gamma = 3.0 if name == "FLSD-53" else float(name)
        assert row["focal_loss"] == pytest.approx(
            reference.sparse_focal(0, [4, 1, -1], gamma)[0], rel=1e-7
        )


@pytest.mark.parametrize(
    ("logits", "figures"),
    [
        ("4,1,-1", ("0.946499", "0.0549852", "0.00286234", "0.000157387")),
        ("0.5,1.5,1", ("0.186324", "1.68027", "0.662069", "1.11245")),
    ],
)
def test_examples_of_the_calculator_page_are_right(capsys, logits, figures):
    assert main(["explain", "--logits", logits, "--label", "0"]) == 0
    printed = capsys.readouterr().out
    assert all(figure in printed for figure in figures)


def test_bars_are_as_long_as_the_probabilities(capsys):
    main(["explain", "--logits", "0,0", "--label", "1"])
    bars = [line.count("█") for line in capsys.readouterr().out.splitlines() if "█" in line]
    assert bars == [12, 12]


@pytest.mark.parametrize("logits", ["800,-800,0", "-800,800,0", "1e300,0"])
def test_extreme_logits_stay_finite(capsys, logits):
    assert main(["explain", "--logits", logits, "--label", "0", "--json"]) == 0
    assert "null" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--logits", "1", "--label", "0"], "--logits must be two or more"),
        (["--logits", "1,a", "--label", "0"], "--logits must be two or more"),
        (["--logits", "1,nan", "--label", "0"], "--logits must be two or more"),
        (["--logits", "1,2", "--label", "2"], "--label must be a class in 0 ... 1"),
        (["--logits", "1,2", "--label", "-1"], "--label must be a class in 0 ... 1"),
        (["--logits", "1,2", "--label", "0", "--gamma", "-1"], "--gamma must be"),
        (["--logits", "1,2", "--label", "0", "--gamma", "FL"], "FLSD-53"),
        (["--logits", "1,2"], "--label"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(capsys, arguments, words):
    assert main(["explain", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert words in printed.err
    assert printed.err.count("\n") == 1
