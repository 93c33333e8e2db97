"""What the losses of a whole batch read: predictions, labels, weights, and the top labels."""

from keras import ops

from keras_focal._typing import Tensor
from keras_focal._validation.shapes import check_weights_fit
from keras_focal.functional._inputs.labels import Labels, label_factor, read_class
from keras_focal.functional._inputs.weights import weights_like
from keras_focal.functional._stable.margin import chosen_class
from keras_focal.functional._stable.predicted import Predicted, read_predicted
from keras_focal.functional.losses._terms import checked, masked


class Batch:
    """The predictions of a batch, with labels and weights.

    Attributes:
        labels: What they were read from, with the entries that count.
        ids: Class ids, shape (...).
        predicted: Predictions, shape (..., K), valid ones where an entry does not count.
        weights: Weights, shape (...): 0 where an entry does not count, NaN for an invalid label.
    """

    def __init__(self, labels: Tensor, logits: Tensor, sample_weight: Tensor | None):
        predicted = read_predicted(logits).to_float()
        read, dtype = read_class(labels, predicted.shape), predicted.dtype
        if sample_weight is not None:
            sample_weight = ops.convert_to_tensor(sample_weight, dtype=dtype)
            check_weights_fit("sample_weight", sample_weight.shape, predicted.shape)
        weights = weights_like(ops.zeros_like(read.values, dtype=dtype), sample_weight)
        counts = weights != 0
        if read.counts is not None:
            counts = ops.logical_and(counts, read.counts)
        factor = ops.cast(label_factor(masked(read.values, counts)), dtype)
        self.labels: Labels = read._replace(counts=counts)
        self.ids, self.predicted = read.values, predicted.where(counts)
        self.weights = ops.stop_gradient(masked(weights, counts) * factor)

    def shares(self) -> Tensor:
        """Return the weights of all predictions in a row, divided by their sum, shape (N,)."""
        weights = ops.reshape(self.weights, (-1,))
        return ops.divide_no_nan(weights, ops.sum(weights))

    def top_label(self) -> tuple[Tensor, Tensor]:
        """Return 1 - confidence of each prediction, and 1 where it is wrong, both shape (N,)."""
        top, complement = top_and_complement(self.predicted)
        top, complement = ops.reshape(top, (-1,)), ops.reshape(complement, (-1,))
        is_wrong = ops.not_equal(top, ops.reshape(self.ids, (-1,)))
        return complement, ops.cast(is_wrong, complement.dtype)

    def gaps(self) -> Tensor:
        """Return p_k minus 1 for the class and 0 for the others, shape (..., K)."""
        p = self.predicted.probabilities()
        return p - ops.cast(chosen_class(self.ids, p.shape[-1]), p.dtype)

    def checked(self, value: Tensor) -> Tensor:
        """Return a value, after checking labels if it is NaN."""
        return checked(value, self.labels, self.predicted.shape)


def top_and_complement(predicted: Predicted) -> tuple[Tensor, Tensor]:
    """Return the top class of each row, the first of equal ones, and 1 minus its probability."""
    num_classes, values = predicted.shape[-1], predicted.values
    largest = ops.stop_gradient(ops.max(values, axis=-1, keepdims=True))
    classes = ops.arange(num_classes, dtype="int32")
    top = ops.min(ops.where(values >= largest, classes, num_classes - 1), axis=-1)
    is_top = chosen_class(top, num_classes)
    weights = predicted.relative(largest)
    own = ops.sum(ops.where(is_top, weights, 0.0), axis=-1)
    rest = ops.sum(ops.where(is_top, 0.0, weights), axis=-1)
    return top, rest / (own + rest)
