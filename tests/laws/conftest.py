"""Profiles of the laws: `short`, the default, and `deep`, chosen with `--hypothesis-profile`."""

import keras
from hypothesis import HealthCheck, settings

EXAMPLES = {"jax": 8, "tensorflow": 20, "torch": 60}
"""By backend: JAX compiles for each loss and shape, eager TensorFlow is slower than torch."""

# Compilation on first use would count as a slow example.
EVERYWHERE = {"deadline": None, "suppress_health_check": list(HealthCheck)}

examples = EXAMPLES[keras.backend.backend()]
settings.register_profile("short", max_examples=examples, derandomize=True, **EVERYWHERE)
settings.register_profile("deep", max_examples=10_000, print_blob=True, **EVERYWHERE)
settings.load_profile("short")
