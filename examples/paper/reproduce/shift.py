"""Images that a network was not trained on: damaged ones of CIFAR-10, and those of Tiny-ImageNet.

How confident a network is of them, whether its confidence tells them from the test images of
CIFAR-10, and what a temperature, fitted on images without damage, changes.

Sources:
    Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations, ICLR 2019 (https://arxiv.org/abs/1903.12261): the damages and their strengths.
    Hendrycks and Gimpel, A Baseline for Detecting Misclassified and Out-of-Distribution Examples
    in Neural Networks, ICLR 2017 (https://arxiv.org/abs/1610.02136): confidence as the score.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np

from examples.paper.callbacks import predict
from examples.paper.data import Data, Split, load
from examples.paper.files import DamagedFileError
from examples.paper.runs import Run
from examples.paper.tables.measure import Figures, scores
from keras_focal.calibration import fit_temperature

OTHER = "Tiny-ImageNet"

_SEED = 0


def _noise(images: np.ndarray, strength: float) -> np.ndarray:
    draws = np.random.default_rng(_SEED).normal(0.0, strength, images.shape)
    return images + draws


def _contrast(images: np.ndarray, strength: float) -> np.ndarray:
    mean = images.mean(axis=(1, 2), keepdims=True)
    return mean + strength * (images - mean)


def _blur(images: np.ndarray, strength: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(images, (0.0, strength, strength, 0.0), mode="nearest")


DAMAGES: dict[str, tuple[Callable[[np.ndarray, float], np.ndarray], float]] = {
    "noise, severity 3": (_noise, 0.08),
    "noise, severity 5": (_noise, 0.10),
    "contrast, severity 3": (_contrast, 0.4),
    "contrast, severity 5": (_contrast, 0.15),
    "blur, severity 3": (_blur, 0.7),
    "blur, severity 5": (_blur, 1.0),
}
"""By name: what damages images with values in [0, 1], and how much, as in CIFAR-10-C: the standard
deviation of the noise, the share of the contrast that is left, that of the blur in pixels."""


def damaged(images: np.ndarray, name: str) -> np.ndarray:
    """Return images, uint8, shape (N, height, width, 3), with one of `DAMAGES`."""
    damage, strength = DAMAGES[name]
    return np.rint(255.0 * np.clip(damage(images / 255.0, strength), 0.0, 1.0)).astype("uint8")


def halved(images: np.ndarray) -> np.ndarray:
    """Return images of half the height and width, uint8: means of 2 x 2 pixels."""
    n, height, width, channels = images.shape
    blocks = images.reshape(n, height // 2, 2, width // 2, 2, channels)
    return np.rint(blocks.mean(axis=(2, 4))).astype("uint8")


def under_shift(run: Run, dataset: Data, other: np.ndarray) -> dict[str, Figures]:
    """Return the figures of a run by kind of image, before and after a temperature.

    `pre` and `post` hold, in per cent, `confidence` (the mean), `auroc_confidence` and
    `auroc_entropy`, with which low confidence and high entropy tell the images from the test
    images; and of images with labels also `error` and `ece`. The temperature has the least NLL of
    the validation logits.

    Args:
        run: A run on CIFAR-10 whose folder holds `model.keras`.
        dataset: CIFAR-10.
        other: Images of other classes, uint8, shape (N, 32, 32, 3).

    Raises:
        DamagedFileError: If the model cannot be read.
    """
    file = run.folder / "model.keras"
    try:
        model = keras.saving.load_model(file, compile=False)
    except (KeyError, OSError, ValueError) as error:
        raise DamagedFileError(file, "a model", error) from error
    logits = run.logits()
    fit = fit_temperature(logits.val_logits, logits.val_labels)
    found = {}
    for name, part in _parts(dataset.test, other):
        shifted = predict(model, part)
        found[name] = {
            "pre": _figures(shifted, part.y, logits.test_logits, 1.0),
            "post": _figures(shifted, part.y, logits.test_logits, fit.temperature),
        }
    return found


def _parts(test: Split, other: np.ndarray) -> Iterator[tuple[str, Split]]:
    for name in DAMAGES:
        yield name, Split(damaged(test.x, name), test.y)
    yield OTHER, Split(other, np.full(len(other), -1, "int32"))


def _figures(
    shifted: np.ndarray, labels: np.ndarray, usual: np.ndarray, temperature: float
) -> Figures:
    """Return the figures of logits of one kind of image; labels are negative where there is none.

    `usual` are the logits of the test images.
    """
    from scipy.special import entr, softmax
    from sklearn.metrics import roc_auc_score

    is_shifted = np.repeat([0, 1], [len(usual), len(shifted)])
    both = np.concatenate([usual, shifted]).astype("float64") / temperature
    p = softmax(both, axis=-1)
    confidence = p.max(axis=-1)
    found = {
        "confidence": 100.0 * confidence[len(usual) :].mean(),
        "auroc_confidence": 100.0 * roc_auc_score(is_shifted, -confidence),
        "auroc_entropy": 100.0 * roc_auc_score(is_shifted, entr(p).sum(axis=-1)),
    }
    if labels[0] >= 0:
        of_labels = scores(labels, both[len(usual) :])
        found |= {name: of_labels[name] for name in ("error", "ece")}
    return {name: float(value) for name, value in found.items()}


def images_of(data_dir: Path | None) -> tuple[Data, np.ndarray]:
    """Return CIFAR-10, and the test images of Tiny-ImageNet in its size."""
    return load("cifar10", data_dir), halved(load("tiny_imagenet", data_dir).test.x)
