"""A calibration map as a scikit-learn estimator. Needs: pip install "keras-focal[maps]"."""

import warnings
from typing import Any

import keras
import numpy as np

from keras_focal._host import softmax
from keras_focal._validation.choices import check_choice
from keras_focal.calibration.given import Declared, HeldOut, as_logits, check_predictions
from keras_focal.calibration.maps._choose import chosen_map
from keras_focal.calibration.maps._fit import sample_of
from keras_focal.calibration.maps._registry import METHODS
from keras_focal.calibration.maps._sample import Options

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise ImportError(
        "Calibrator needs scikit-learn 1.6 or later. Install it with "
        '`pip install "keras-focal[maps]"`.'
    ) from error


class Calibrator(ClassifierMixin, BaseEstimator):
    """A calibration map as a scikit-learn classifier of logits or probabilities.

    Its features are the predictions of another classifier: column k of `X` belongs to class k. Fit
    it to held-out data, alone or as the last step of a pipeline whose other steps give predictions.

    Args:
        method: A method of `fit_map`, such as "temperature", "vector" or "auto".
        from_logits: Whether `X` has logits or probabilities.
        classes: None, or the label of each column in order; for one column, the negative and the
            positive label. None takes the sorted labels of `y`, which must then have every class.
        diagonal: As in `fit_map`.
        off_diagonal: As in `fit_map`.
        bias: As in `fit_map`.
        smoothing: As in `fit_map`.
        map_bins: As in `fit_map`.
        binning: As in `fit_map`.

    Attributes:
        classes_: Labels, shape (K,), in the order of the columns of `predict_proba`.
        method_: Name of the map. For "auto", of the one that was chosen.
        n_features_in_: Number of columns of `X`.

    Raises:
        ValueError: From `fit`, if the labels do not match the columns, or as in `fit_map`.

    Example:
        >>> import numpy as np
        >>> from keras_focal.calibration import Calibrator
        >>> rng = np.random.default_rng(0)
        >>> logits = rng.normal(0, 2, (500, 3))
        >>> labels = np.array(["cat", "dog", "owl"])[(logits + rng.gumbel(size=(500, 3))).argmax(1)]
        >>> calibrator = Calibrator().fit(5 * logits, labels)
        >>> calibrator.predict_proba(5 * logits).shape, calibrator.classes_.tolist()
        ((500, 3), ['cat', 'dog', 'owl'])

    Source:
        Guo et al., 2017, section 4.2.
    """

    def __init__(
        self,
        method: str = "temperature",
        *,
        from_logits: bool = True,
        classes: Any = None,
        diagonal: float | None = None,
        off_diagonal: float | None = None,
        bias: float | None = None,
        smoothing: bool = True,
        map_bins: int = 30,
        binning: str = "balanced",
    ):
        self.method = method
        self.from_logits = from_logits
        self.classes = classes
        self.diagonal = diagonal
        self.off_diagonal = off_diagonal
        self.bias = bias
        self.smoothing = smoothing
        self.map_bins = map_bins
        self.binning = binning

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "Calibrator":
        """Fit the map on held-out predictions.

        Args:
            X: Logits or probabilities, shape (N, K), or (N, 1) for the positive class of two.
            y: Labels, shape (N,).
            sample_weight: None, or weights >= 0, shape (N,).

        Returns:
            The estimator itself.
        """
        check_choice("method", self.method, (*METHODS, "auto"))
        options = Options.of(
            self.diagonal,
            self.off_diagonal,
            self.bias,
            self.smoothing,
            self.map_bins,
            self.binning,
        )
        declared = Declared.of(self.from_logits, None, False)
        X, y = validate_data(self, X, y, dtype=["float64", "float32"])
        check_classification_targets(y)
        self.classes_, ids = self._classes_of(y)
        rows = declared.rows(X, ids, sample_weight)
        check_predictions(rows.predictions, declared.from_logits)
        data = HeldOut.of_rows(rows, declared, stacklevel=2)
        folds = 5 if self.method == "auto" else 0
        sample = sample_of(data, X.shape[1] == 1, folds)
        found = chosen_map(sample, self.method, options, folds, 15).best
        if found.fitted.reason:
            warnings.warn(f"The {found.method.name} map: {found.fitted.reason}", stacklevel=2)
        self.method_, self._fitted = found.method.name, found.fitted
        return self

    @property
    def layer(self) -> keras.layers.Layer:
        """The map as a Keras layer, which takes what `X` holds and gives logits."""
        check_is_fitted(self)
        inputs = "logits" if self.from_logits else "probabilities"
        return METHODS[self.method_].layer(*self._fitted.arguments, inputs=inputs)

    def _classes_of(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the label of each column, and the column of each label, or raise."""
        found, ids = np.unique(y, return_inverse=True)
        size = max(self.n_features_in_, 2)
        if self.classes is None:
            if len(found) != size:
                raise ValueError(
                    f"`y` must hold labels of {size} classes, one for each column of `X`. "
                    f"Received: {len(found)} class{'es' if len(found) > 1 else ''}. Pass the label "
                    "of each column as `classes`."
                )
            return found, ids
        classes = np.asarray(self.classes)
        if classes.shape != (size,) or len(np.unique(classes)) != size:
            raise ValueError(
                f"`classes` must hold {size} different labels, one for each column of `X`. "
                f"Received: classes={self.classes!r}."
            )
        unknown = np.setdiff1d(found, classes)
        if len(unknown):
            raise ValueError(
                f"`y` must hold labels of `classes`. Received: {unknown[0]!r}, which is not in "
                f"{classes.tolist()}."
            )
        order = np.argsort(classes)
        return classes, order[np.searchsorted(classes[order], y)]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return calibrated probabilities, shape (N, K >= 2), of predictions, shape (N, K)."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=["float64", "float32"], reset=False)
        logits = as_logits(X, self.from_logits).astype("float64")
        return softmax(self._fitted.apply(logits))

    def predict(self, X: Any) -> np.ndarray:
        """Return the label of the largest calibrated probability of each row, shape (N,)."""
        winners = self.predict_proba(X).argmax(axis=1)
        return self.classes_[winners]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = True
        return tags
