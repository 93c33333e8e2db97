"""Split conformal prediction: a threshold for the scores of held-out labels."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from keras_focal._host import softmax
from keras_focal._validation.numbers import check_real
from keras_focal.calibration.given import NOTHING_COUNTS, Declared, HeldOut, held_out_of
from keras_focal.layers import ConformalSets

_BLOCK = 2**22
"""Probabilities in one block of rows: 16 MB in float32."""


@dataclass(frozen=True)
class ConformalFit:
    """A layer of prediction sets, and what its sets are like on the data of the fit.

    Attributes:
        layer: `layers.ConformalSets`.
        method: "lac", "aps" or "raps".
        alpha: Share of new predictions whose set may miss the label.
        threshold: The k-th smallest of the n scores, k = ceil((n + 1) (1 - alpha)).
        num_samples: n, the number of predictions.
        coverage: Share of the predictions whose set holds the label.
        mean_size: Mean number of classes in a set.
        singletons: Share of the sets with one class.
        empty: Share of the sets without any.
        expected_coverage: k / (n + 1): the mean coverage of new predictions, over data of fits of
            this size, if no scores are equal. Equal scores and `allow_empty=False` raise it.
        coverage_std: The standard deviation of that coverage from one data set to the next.
    """

    layer: ConformalSets
    method: str
    alpha: float
    threshold: float
    num_samples: int
    coverage: float
    mean_size: float
    singletons: float
    empty: float
    expected_coverage: float
    coverage_std: float


def fit_conformal(
    logits: Any,
    labels: Any = None,
    alpha: float = 0.1,
    *,
    method: str = "lac",
    from_logits: bool = True,
    sample_weight: Any = None,
    ignore_class: int | None = None,
    penalty: float = 0.01,
    rank: float = 5,
    randomized: bool = False,
    allow_empty: bool = False,
    seed: int = 0,
    verbose: int = 0,
) -> ConformalFit:
    """Return prediction sets that hold the true class with probability 1 - alpha at least.

    Split conformal prediction. The guarantee needs no assumption on the model: only that the
    held-out predictions and the new ones are exchangeable, such as independent draws of one source.
    It is an average over all predictions, not for each class or group.

    Calibrate first, on other data than these: sets are as small as the probabilities are good.

    Args:
        logits: Array or tensor, shape (..., K), K >= 2, or (..., 1) for the positive class. With
            `from_logits=False`, probabilities. If `labels` is None, batches (logits, labels), such
            as a `tf.data.Dataset`, which are read twice.
        labels: Class ids, shape (...) or (..., 1), or one-hot rows, shape (..., K).
        alpha: Number in (0, 1): the share of sets that may miss the label.
        method: "lac", the smallest sets on average; "aps", larger where the model is unsure; or
            "raps", which is "aps" with a penalty on large sets.
        from_logits: Whether `logits` are logits or probabilities. The layer takes the same.
        sample_weight: None, or 0 for predictions to leave out and 1 for the others. Other weights
            are refused: with repeated or weighted predictions the guarantee does not hold.
        ignore_class: None, or a class id whose predictions are dropped, such as 255.
        penalty: Number >= 0: the regularisation of "raps". Choose it without these data.
        rank: Number >= 0 of classes that "raps" does not penalise.
        randomized: Whether sets of "aps" or "raps" depend on random numbers as well, which the
            layer is then given with every input. They are smaller, and the coverage is 1 - alpha
            and not more. Without, the last class counts with its whole probability.
        allow_empty: Whether a set may be empty. If not, it holds at least the top class.
        seed: Seed of the random numbers for these predictions, if `randomized`.
        verbose: 1 shows a progress bar for each pass over batches.

    Returns:
        ConformalFit. `keras.Model(model.input, fit.layer(model.output))` gives the sets;
        `conformalize` makes a model that gives probabilities and sets.

    Raises:
        ValueError: If the data are too few for alpha, so that every set would hold all classes: n
            >= 1 / alpha - 1 are needed. Or if the data are not finite, shapes do not match, a label
            is not a class id in [0, K), a weight is neither 0 nor 1, `from_logits` does not
            describe the data, or an argument is unknown or out of range.

    Example:
        >>> import numpy as np
        >>> from keras_focal.calibration import fit_conformal
        >>> rng = np.random.default_rng(0)
        >>> logits = rng.normal(0, 2, (1000, 5))
        >>> labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
        >>> fit = fit_conformal(logits, labels, alpha=0.1)
        >>> round(fit.coverage, 3), round(fit.mean_size, 1)
        (0.901, 2.2)

    Source:
        Vovk, Gammerman and Shafer, 2005; Angelopoulos and Bates, 2021, section 1.
    """
    declared = Declared.of(from_logits, ignore_class, False)
    settings: dict[str, Any] = {
        "method": method,
        "penalty": penalty,
        "rank": rank,
        "randomized": randomized,
        "allow_empty": allow_empty,
        "inputs": "logits" if from_logits else "probabilities",
    }
    layer = ConformalSets(0.0, **settings)
    alpha = check_alpha(alpha)
    data = held_out_of(logits, labels, sample_weight, declared, verbose, stacklevel=2)
    return conformal_fitted(data, layer, alpha, seed)


def check_alpha(alpha: Any) -> float:
    """Return `alpha` as a float in (0, 1)."""
    fix = "0.1 is usual: nine of ten sets hold the label."
    return check_real("alpha", alpha, "a number in (0, 1)", lambda x: 0 < x < 1, fix)


def conformal_fitted(
    data: Iterable[HeldOut], layer: ConformalSets, alpha: float, seed: int = 0
) -> ConformalFit:
    """Return the layer with the threshold that held-out predictions give it.

    Args:
        data: Batches, read twice.
        layer: A layer with the settings of the fit; its threshold does not matter.
        alpha: Number in (0, 1).
        seed: Of the random numbers of a randomized layer.
    """
    # What comes is softmaxed on the host, so that the layer takes probabilities here.
    config = {**layer.get_config(), "dtype": "float32"}
    measuring = ConformalSets.from_config({**config, "inputs": "probabilities"})
    scores = np.sort(
        np.concatenate(
            [
                ops.convert_to_numpy(measuring.scores(p, u)[1])[np.arange(len(p)), labels]
                for p, labels, u in _blocks(data, seed if layer.randomized else None)
            ]
            or [np.zeros(0)]
        )
    )
    number = len(scores)
    place = _place(number, alpha)
    threshold = float(scores[place - 1])
    measuring = ConformalSets.from_config({**measuring.get_config(), "threshold": threshold})
    covered, sizes = 0, []
    for p, labels, u in _blocks(data, seed if layer.randomized else None):
        sets = ops.convert_to_numpy(measuring(p) if u is None else measuring(p, u))
        covered += int(sets[np.arange(len(p)), labels].sum())
        sizes.append(sets.sum(axis=1))
    size = np.concatenate(sizes)
    above = number + 1 - place
    return ConformalFit(
        layer=ConformalSets.from_config({**layer.get_config(), "threshold": threshold}),
        method=layer.method,
        alpha=alpha,
        threshold=threshold,
        num_samples=number,
        coverage=covered / number,
        mean_size=float(size.mean()),
        singletons=float((size == 1).mean()),
        empty=float((size == 0).mean()),
        expected_coverage=place / (number + 1),
        coverage_std=math.sqrt(place * above / (number + 2)) / (number + 1),
    )


def _place(number: int, alpha: float) -> int:
    """Return k = ceil((n + 1) (1 - alpha)), or raise if it is more than n."""
    if number == 0:
        raise ValueError(NOTHING_COUNTS)
    # 1e-9 covers the rounding of the product: 10 * (1 - 0.1) is 9, not a little more.
    place = number + 1 - math.floor((number + 1) * alpha + 1e-9)
    if place > number:
        needed = math.ceil(1 / alpha - 1e-9) - 1
        raise ValueError(
            f"`alpha` must be >= 1 / (n + 1) for n predictions. Received: alpha={alpha:g} with "
            f"{number} predictions, for which the quantile of the scores is infinite and every set "
            f"would hold all classes. Give {needed} predictions or more, or a larger alpha."
        )
    return place


def _blocks(
    data: Iterable[HeldOut], seed: int | None
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
    """Yield probabilities, labels and, with a seed, random numbers of blocks of rows."""
    rng = None if seed is None else np.random.default_rng(seed)
    for batch in data:
        is_one = batch.weights == 1
        if not is_one.all():
            raise ValueError(
                "`sample_weight` must be 0 or 1: prediction sets are guaranteed for exchangeable "
                f"predictions. Received: {batch.weights[~is_one][0]:g}. Leave weights out, or fit "
                "on a sample drawn like the predictions to come."
            )
        size = max(1, _BLOCK // batch.logits.shape[1])
        for start in range(0, len(batch.labels), size):
            rows = slice(start, start + size)
            p = softmax(batch.logits[rows].astype("float64")).astype("float32")
            u = None if rng is None else rng.random((len(p), 1), dtype="float32")
            yield p, batch.labels[rows], u
