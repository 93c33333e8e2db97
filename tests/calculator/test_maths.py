"""maths.js: the steps of one prediction, against 50 digits and against the package."""

import math

import mpmath
import numpy as np
import pytest
import reference

from keras_focal.cli._explain import Softmax, Steps

RNG = np.random.default_rng(0)
RULES = {
    "FLSD-53": lambda p: 5 if p < 0.2 else 3,
    "FLSD-532": lambda p: [5, 3, 2][(p >= 0.2) + (p >= 0.5)],
}
EXPLAIN = """cases => cases.map(({ logits, label, ...how }) =>
  maths.explain(logits.map((z) => z ?? -Infinity), label, how))"""
"""JSON has no infinity: null stands for -inf."""


def softmax_case(logits, label, gamma=2.0, alpha=None):
    return {"kind": "softmax", "logits": logits, "label": label, "gamma": gamma, "alpha": alpha}


def sigmoid_case(logit, label, gamma=2.0, alpha=None):
    return {"kind": "sigmoid", "logits": [logit], "label": label, "gamma": gamma, "alpha": alpha}


def random_case(index):
    gamma = [round(RNG.uniform(0, 8), 2), "FLSD-53", "FLSD-532", 0.0, 0.5][index % 5]
    if index % 4 == 3:
        alpha = [None, RNG.uniform(0, 1)][index % 2]
        return sigmoid_case(RNG.normal(0, 6), int(RNG.integers(2)), gamma, alpha)
    size = int(RNG.integers(2, 40))
    alpha = [None, RNG.uniform(0, 2), RNG.uniform(0, 2, size).tolist()][index % 3]
    logits = RNG.normal(0, RNG.choice([0.5, 4, 30]), size).tolist()
    return softmax_case(logits, int(RNG.integers(size)), gamma, alpha)


CASES = [random_case(index) for index in range(100)]
EXTREMES = [
    *(softmax_case([z, 0.0], 0, gamma) for z in (-700, -40, 0, 40, 140) for gamma in (0, 0.1, 5)),
    *(softmax_case([1e4, z, z], label, 1.5) for z in (-1e4, 1e4 - 1e-3) for label in (0, 1)),
    *(sigmoid_case(z, label, 0.3, 0.25) for z in (-1e5, -37, 1e-9, 37) for label in (0, 1)),
    softmax_case([1e300, -1e300], 0),
    softmax_case([2.0, None, 1.0], 0, 3.0),
    softmax_case([0.1] * 999 + [0.2], 999),
]


def oracle(case):
    logits = [-math.inf if z is None else z for z in case["logits"]]
    gamma = RULES.get(case["gamma"], case["gamma"])
    if case["kind"] == "sigmoid":
        loss, gradient = reference.binary_focal(case["label"], logits[0], gamma, case["alpha"])
        return loss, [gradient]
    alpha = case["alpha"]
    alpha = [alpha] * len(logits) if isinstance(alpha, float) else alpha
    return reference.sparse_focal(case["label"], logits, gamma, alpha)


@pytest.mark.parametrize("cases", [CASES, EXTREMES], ids=["100 random", "extremes"])
def test_loss_and_gradient_are_those_of_50_digits(page, cases):
    for case, found in zip(cases, page.evaluate(EXPLAIN, cases), strict=True):
        # So many digits as 1 - p needs at a gap of 700.
        with mpmath.workdps(50 if cases is CASES else 400):
            loss, gradient = oracle(case)
        assert found["loss"] == pytest.approx(loss, rel=1e-9, abs=1e-300), case
        assert found["gradient"] == pytest.approx(list(gradient), rel=1e-9, abs=1e-300), case
        assert sum(found["probabilities"]) == pytest.approx(1, rel=1e-12)
        product = found["alpha"] * found["factor"] * found["crossEntropy"]
        assert found["loss"] == product


def test_loss_beyond_all_numbers_is_finite(page):
    (found,) = page.evaluate(EXPLAIN, [softmax_case([1e300, -1e300], 1)])
    assert found["loss"] == 2.0**100
    assert found["gradient"] == [1, -1]


def test_steps_are_those_of_the_command(page):
    cases = [case for case in CASES if case["kind"] == "softmax"]
    for case, found in zip(cases, page.evaluate(EXPLAIN, cases), strict=True):
        softmax = Softmax.of(np.array(case["logits"]), case["label"])
        gamma = RULES[case["gamma"]](softmax.p_t) if case["gamma"] in RULES else case["gamma"]
        steps = Steps.of(softmax, case["label"], gamma)
        assert found["probabilities"] == pytest.approx(softmax.p.tolist(), rel=1e-9)
        assert found["crossEntropy"] == pytest.approx(softmax.neg_log_p, rel=1e-9)
        assert [found["gamma"], found["factor"], found["slope"]] == pytest.approx(
            [gamma, steps.factor, steps.ratio], rel=1e-9
        )


def test_ratio_and_its_threshold_are_those_of_the_propositions(page):
    p, exponents = [1e-300, 1e-6, 0.1, 0.2, 0.5, 0.9, 1 - 1e-9], [0, 0.3, 1, 2, 5, 10]
    script = "([ps, gs]) => gs.map((g) => ps.map((p) => maths.gradientRatio(p, g)))"
    for gamma, row in zip(exponents, page.evaluate(script, [p, exponents]), strict=True):
        assert row == pytest.approx([reference.gradient_ratio(x, gamma) for x in p], rel=1e-9)
    found = page.evaluate("gs => gs.map(maths.thresholdProbability)", [1e-3, 0.5, 1, 3, 50, 1000])
    expected = [reference.threshold_probability(gamma) for gamma in (1e-3, 0.5, 1, 3, 50, 1000)]
    assert found == pytest.approx(expected, rel=1e-9)
    assert found[2] == pytest.approx(1 / math.e, rel=1e-12)


def test_worked_examples_are_right(page):
    """Of the page that this one takes the place of, both were wrong."""
    cases = [softmax_case([4.0, 1.0, -1.0], 0), softmax_case([0.5, 1.5, 1.0], 0)]
    found = page.evaluate(EXPLAIN, cases)
    assert [round(each["loss"], 7) for each in found] == [0.0001574, 1.1124546]
    assert [round(each["crossEntropy"], 5) for each in found] == [0.05499, 1.68027]
