"""What the losses of a whole batch read: predictions, labels, weights, and the top labels."""

from keras import ops

from keras_focal._typing import Tensor
from keras_focal._validation.shapes import check_weights_fit
from keras_focal.functional._backend.precision import to_float
from keras_focal.functional._inputs.labels import Labels, label_factor, read_class
from keras_focal.functional._inputs.weights import weights_like
from keras_focal.functional._stable.margin import chosen_class
from keras_focal.functional.losses._terms import checked, masked


class Batch:
    """The predictions of a batch, with labels and weights.

    Attributes:
        labels: What they were read from, with the entries that count.
        ids: Class ids, shape (...).
        z: Logits, shape (..., K), 0 where an entry does not count.
        weights: Weights, shape (...): 0 where an entry does not count, NaN for an invalid label.
    """

    def __init__(self, labels: Tensor, logits: Tensor, sample_weight: Tensor | None):
        logits = to_float(logits)
        read = read_class(labels, logits.shape)
        if sample_weight is not None:
            sample_weight = ops.convert_to_tensor(sample_weight, dtype=logits.dtype)
            check_weights_fit("sample_weight", sample_weight.shape, logits.shape)
        weights = weights_like(ops.zeros_like(read.values, dtype=logits.dtype), sample_weight)
        counts = weights != 0
        if read.counts is not None:
            counts = ops.logical_and(counts, read.counts)
        factor = ops.cast(label_factor(masked(read.values, counts)), logits.dtype)
        self.labels: Labels = read._replace(counts=counts)
        self.ids, self.z = read.values, masked(logits, counts)
        self.weights = ops.stop_gradient(masked(weights, counts) * factor)

    def shares(self) -> Tensor:
        """Return the weights of all predictions in a row, divided by their sum, shape (N,)."""
        weights = ops.reshape(self.weights, (-1,))
        return ops.divide_no_nan(weights, ops.sum(weights))

    def top_label(self) -> tuple[Tensor, Tensor]:
        """Return 1 - confidence of each prediction, and 1 where it is wrong, both shape (N,)."""
        top, complement = top_and_complement(ops.reshape(self.z, (-1, self.z.shape[-1])))
        is_wrong = ops.not_equal(top, ops.reshape(self.ids, (-1,)))
        return complement, ops.cast(is_wrong, complement.dtype)

    def gaps(self) -> Tensor:
        """Return p_k minus 1 for the class and 0 for the others, shape (..., K)."""
        p = ops.softmax(self.z, axis=-1)
        return p - ops.cast(chosen_class(self.ids, p.shape[-1]), p.dtype)

    def checked(self, value: Tensor) -> Tensor:
        """Return a value, after checking labels if it is NaN."""
        return checked(value, self.labels, self.z.shape)


def top_and_complement(z: Tensor) -> tuple[Tensor, Tensor]:
    """Return the top class of each row, the first of equal ones, and 1 minus its probability."""
    num_classes = z.shape[-1]
    largest = ops.stop_gradient(ops.max(z, axis=-1, keepdims=True))
    classes = ops.arange(num_classes, dtype="int32")
    top = ops.min(ops.where(z >= largest, classes, num_classes - 1), axis=-1)
    is_top = chosen_class(top, num_classes)
    weights = ops.exp(z - largest)
    own = ops.sum(ops.where(is_top, weights, 0.0), axis=-1)
    rest = ops.sum(ops.where(is_top, 0.0, weights), axis=-1)
    return top, rest / (own + rest)
