"""Names of types, each given once."""

from collections.abc import Sequence
from typing import Any

import keras

Tensor = Any
"""A tensor of the Keras backend, or what converts to one. The frameworks share no type."""

DType = str | keras.DTypePolicy
"""What the `dtype` argument of a Keras object takes."""

ClassWeights = float | Sequence[float]
"""A weight for all classes, or one for each."""
