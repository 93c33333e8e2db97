"""Calibrator: a calibration map that keeps scikit-learn's contract."""

import sys

import numpy as np
import pytest
from keras import ops
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

from keras_focal import calibration
from keras_focal.calibration import Calibrator, fit_map
from keras_focal.calibration.maps import METHODS

COLUMNS = "column k of X belongs to class k, and here X has another number of columns"
OTHER_COLUMNS = dict.fromkeys(
    (
        "check_all_zero_sample_weights_error",
        "check_classifiers_classes",
        "check_classifiers_train",
        "check_dtype_object",
        "check_estimators_dtypes",
        "check_estimators_fit_returns_self",
        "check_estimators_nan_inf",
        "check_estimators_overwrite_params",
        "check_estimators_pickle",
        "check_n_features_in_after_fitting",
        "check_pipeline_consistency",
        "check_positive_only_tag_during_fit",
        "check_readonly_memmap_input",
        "check_sample_weight_equivalence_on_dense_data",
    ),
    COLUMNS,
)
OF_PIPELINES = dict.fromkeys(
    (
        "check_dont_overwrite_parameters",
        "check_estimator_sparse_tag",
        "check_estimators_overwrite_params",
    ),
    "a Pipeline fits the steps that it was given, and has the tags of the first",
)
quiet = pytest.mark.filterwarnings("ignore::Warning")


class Scores(TransformerMixin, BaseEstimator):
    """Gives the scores of a linear classifier: one column for two classes, else one for each."""

    def fit(self, X, y):
        self.model_ = RidgeClassifier().fit(X, y)
        self.n_features_in_ = self.model_.n_features_in_
        return self

    def transform(self, X):
        scores = self.model_.decision_function(X)
        return scores[:, None] if scores.ndim == 1 else scores


@quiet
@pytest.mark.parametrize(
    ("estimator", "exceptions"),
    [
        (Calibrator(), OTHER_COLUMNS),
        # With scores in between, X fits the classes, and what is excepted above is checked too.
        (make_pipeline(Scores(), Calibrator()), OF_PIPELINES),
        (make_pipeline(Scores(), Calibrator("platt")), OF_PIPELINES),
    ],
    ids=["alone", "temperature in a pipeline", "platt in a pipeline"],
)
def test_contract_of_scikit_learn(estimator, exceptions):
    results = check_estimator(estimator, expected_failed_checks=exceptions, on_skip=None)
    assert {one["check_name"] for one in results if one["status"] == "xfail"} == {*exceptions}


def sample(rng, classes=3):
    logits = rng.normal(0, 2, (200, classes))
    return 2 * logits, (logits + rng.gumbel(0, 1, logits.shape)).argmax(axis=1)


@pytest.mark.filterwarnings("ignore:The .* map")
@pytest.mark.parametrize("method", METHODS)
def test_probabilities_are_those_of_the_layer_of_fit_map(rng, method):
    logits, labels = sample(rng)
    names = np.array(["cat", "dog", "owl"])
    fixed = {"off_diagonal": 0.1, "bias": 0.1}
    calibrator = Calibrator(method, **fixed).fit(logits, names[labels])
    fit = fit_map(logits, labels, method, folds=0, **fixed)
    expected = ops.convert_to_numpy(ops.softmax(fit.layer(logits.astype("float32"))))
    p = calibrator.predict_proba(logits)
    np.testing.assert_allclose(p, expected, atol=1e-5)
    of_layer = ops.softmax(calibrator.layer(logits.astype("float32")))
    np.testing.assert_allclose(ops.convert_to_numpy(of_layer), expected, atol=1e-6)
    assert calibrator.predict(logits).tolist() == names[p.argmax(axis=1)].tolist()


def test_column_of_probabilities_is_that_of_the_positive_class(rng):
    logits, labels = sample(rng, classes=2)
    z = logits[:, 1:] - logits[:, :1]
    p = 1 / (1 + np.exp(-z))
    of_logits = Calibrator().fit(z, labels)
    of_probabilities = Calibrator(from_logits=False).fit(p, labels)
    expected = of_logits.predict_proba(z)
    np.testing.assert_allclose(of_probabilities.predict_proba(p), expected, rtol=1e-6)
    assert np.mean((expected[:, 1] > 0.5) == labels) == of_logits.score(z, labels) > 0.6


def test_classes_give_columns_their_labels_where_a_class_has_none(rng):
    logits, labels = sample(rng)
    present = labels != 1
    names = np.array(["owl", "dog", "cat"])
    calibrator = Calibrator(classes=names).fit(logits[present], names[labels[present]])
    plain = Calibrator(classes=[0, 1, 2]).fit(logits[present], labels[present])
    p = calibrator.predict_proba(logits)
    np.testing.assert_array_equal(p, plain.predict_proba(logits))
    assert calibrator.predict(logits).tolist() == names[p.argmax(axis=1)].tolist()


@pytest.mark.parametrize(
    ("arguments", "labels", "message"),
    [
        ({}, [0, 1, 0, 1], "`y` must hold labels of 3 classes"),
        ({"classes": [0, 1]}, [0, 1, 0, 1], "`classes` must hold 3 different labels"),
        ({"classes": [0, 1, 1]}, [0, 1, 0, 1], "`classes` must hold 3 different labels"),
        ({"classes": [0, 1, 2]}, [0, 1, 0, 5], r"`y` must hold labels of `classes`.*5"),
        ({"method": "tempreature"}, [0, 1, 2, 1], "`method` must be one of"),
        ({"from_logits": False}, [0, 1, 2, 1], "`from_logits` must say"),
        ({"off_diagonal": -1.0}, [0, 1, 2, 1], "`off_diagonal` must"),
    ],
)
def test_what_cannot_be_right_is_refused(arguments, labels, message):
    with pytest.raises(ValueError, match=message):
        Calibrator(**arguments).fit(np.arange(12.0).reshape(4, 3) % 5, labels)


def test_without_scikit_learn_the_error_names_the_extra(monkeypatch):
    monkeypatch.delitem(sys.modules, "keras_focal.calibration.maps.calibrator")
    monkeypatch.setitem(sys.modules, "sklearn.base", None)
    with pytest.raises(ImportError, match=r"keras-focal\[maps\]"):
        _ = calibration.Calibrator
