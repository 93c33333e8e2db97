"""The last layer of a classifier of many classes, with a loss that never makes its logits."""

from typing import Any

import keras
from keras import ops

from keras_focal import functional
from keras_focal._typing import Tensor
from keras_focal._validation.numbers import check_count, check_positive, check_that
from keras_focal.functional._inputs.weights import effective_weights


@keras.saving.register_keras_serializable(package="keras_focal")
class LinearHead(keras.layers.Layer):
    """The last linear layer of a language model, whose loss never makes the logits.

    Called, it is a `Dense` layer: features (..., D) become logits (..., K). Its method
    `focal_crossentropy` returns the loss of features and labels from
    `functional.linear_sparse_focal_crossentropy`, so that a model that returns features in training
    never holds an array with a column for each class. Use it in `compute_loss`, as in the guide
    "How do I train a language model without its logits?".

    Args:
        num_classes: K, a whole number >= 2; None with an `embedding`.
        embedding: None, or the layer whose weights the head shares: `keras.layers.Embedding`, or
            `ReversibleEmbedding` of Keras or KerasHub, such as `backbone.token_embedding`, tied or
            not. Its `logit_soft_cap` is used unless `softcap` is given. The embedding must be
            built before the head is called.
        use_bias: Whether a bias is added to the logits.
        softcap: None, or a number > 0: the logits are softcap * tanh(z / softcap).
        kernel_initializer: Initializer of the kernel, shape (D, K), unless there is an `embedding`.
        **kwargs: Arguments of `keras.layers.Layer`.

    Input shape:
        (..., D).

    Output shape:
        (..., K), logits.

    Raises:
        ValueError: If not exactly one of `num_classes` and `embedding` is given, or one of the
            arguments is not as above.

    Example:
        >>> import keras, numpy as np
        >>> from keras_focal import layers
        >>> head = layers.LinearHead(1000, kernel_initializer="zeros")
        >>> features = np.ones((2, 8), "float32")
        >>> head(features).shape == (2, 1000)
        True
        >>> values = keras.ops.convert_to_numpy(
        ...     head.focal_crossentropy(features, [3, 5], gamma=0.0))
        >>> [round(float(x), 4) for x in values]
        [6.9078, 6.9078]

    Source:
        Press and Wolf, 2017, "Using the Output Embedding to Improve Language Models", for tied
        embeddings; for the loss, see `functional.linear_sparse_focal_crossentropy`.
    """

    def __init__(
        self,
        num_classes: int | None = None,
        *,
        embedding: keras.layers.Layer | None = None,
        use_bias: bool = False,
        softcap: float | None = None,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        one_of_both = (num_classes is None) != (embedding is None)
        fix = "Give the number of classes, or the embedding whose weights the head shares."
        check_that("num_classes", num_classes, "given or `embedding` be given", one_of_both, fix)
        self.num_classes = None if num_classes is None else check_count("num_classes", num_classes)
        has_weights = embedding is None or hasattr(embedding, "embeddings_initializer")
        check_that("embedding", embedding, "a layer with `embeddings`", has_weights, fix)
        self.embedding: Any = embedding
        self.use_bias = bool(use_bias)
        self.softcap = None if softcap is None else check_positive("softcap", softcap)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias: Any = None

    def build(self, input_shape: tuple) -> None:
        if self.embedding is None:
            shape = (input_shape[-1], self.num_classes)
            self.own_kernel = self.add_weight(
                name="kernel", shape=shape, initializer=self.kernel_initializer
            )
        if self.use_bias:
            num_classes = self.num_classes or self.embedding.input_dim
            self.bias = self.add_weight(name="bias", shape=(num_classes,), initializer="zeros")
        self.built = True

    @property
    def kernel(self) -> Tensor:
        """The kernel, shape (D, K); of a tied embedding, its transpose."""
        if self.embedding is None:
            return ops.convert_to_tensor(self.own_kernel)
        if getattr(self.embedding, "tie_weights", True):
            return ops.transpose(ops.convert_to_tensor(self.embedding.embeddings))
        return ops.convert_to_tensor(self.embedding.reverse_embeddings)

    def _weights(self) -> tuple[Tensor, Tensor | None]:
        """Return kernel and bias in the dtype that the layer computes in."""
        kernel = ops.cast(self.kernel, self.compute_dtype)
        bias = None if self.bias is None else ops.convert_to_tensor(self.bias)
        return kernel, None if bias is None else ops.cast(bias, self.compute_dtype)

    @property
    def _cap(self) -> float | None:
        if self.softcap is None:
            return getattr(self.embedding, "logit_soft_cap", None)
        return self.softcap

    def call(self, inputs: Tensor) -> Tensor:
        kernel, bias = self._weights()
        logits = ops.matmul(inputs, kernel)
        logits = logits if bias is None else logits + bias
        return logits if self._cap is None else self._cap * ops.tanh(logits / self._cap)

    def focal_crossentropy(
        self,
        features: Tensor,
        labels: Tensor,
        *,
        sample_weight: Tensor | None = None,
        **arguments: Any,
    ) -> Any:
        """Return the focal loss of each row of features, without reduction and without logits.

        Args:
            features: Float tensor, shape (..., D). Where Keras has masked it the loss is 0.
            labels: Integer tensor, shape (...).
            sample_weight: None, or weights of shape (B,), (B, 1) or (...).
            **arguments: Other arguments of `functional.linear_sparse_focal_crossentropy`, such as
                `gamma`, `label_smoothing`, `ignore_class` or `return_statistics`.

        Returns:
            Tensor of the shape of the labels, or with `return_statistics` a pair of it and the
            statistics.

        Raises:
            ValueError: If the layer is not built yet, or for a wrong argument.
        """
        if not self.built:
            raise ValueError(
                "`LinearHead` must be built before its loss is computed. Received: "
                f"name={self.name!r}, not built. Call `build((None, features))` where the model "
                "creates the head."
            )
        kernel, bias = self._weights()
        return functional.linear_sparse_focal_crossentropy(
            ops.cast(features, self.compute_dtype),
            kernel,
            bias,
            labels,
            sample_weight=effective_weights(features, sample_weight),
            softcap=self._cap,
            **arguments,
        )

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        num_classes = self.num_classes or self.embedding.input_dim
        return (*input_shape[:-1], num_classes)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "embedding": keras.saving.serialize_keras_object(self.embedding),
            "use_bias": self.use_bias,
            "softcap": self.softcap,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "LinearHead":
        """Return a head of the config that `get_config` gave."""
        embedding = keras.saving.deserialize_keras_object(config["embedding"])
        return cls(**{**config, "embedding": embedding})

    def __repr__(self) -> str:
        return f"LinearHead({self.num_classes}, embedding={self.embedding!r}, name={self.name!r})"
