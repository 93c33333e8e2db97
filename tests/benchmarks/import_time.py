"""What `import keras_focal` adds to `import keras`, in processes of their own that take turns.

python tests/benchmarks/import_time.py [--quick] [--publish]
"""

import os
import statistics
import subprocess
import sys
import time
from importlib.util import find_spec

from harness import Row, environment, main

BACKENDS = [name for name in ("tensorflow", "jax") if find_spec(name)]


def seconds(statement, backend):
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", statement],
        check=True,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "KERAS_BACKEND": backend},
    )
    return time.perf_counter() - start


def own_seconds(backend):
    """Return the time of `import keras_focal` inside a process that has imported Keras."""
    code = (
        "import keras, time; start = time.perf_counter(); import keras_focal; "
        "print(time.perf_counter() - start)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "KERAS_BACKEND": backend},
    )
    return float(answer.stdout)


def rows_of(backend, rounds):
    both = "import keras; import keras_focal"
    seconds(both, backend)
    figures = {"whole process, with keras_focal": [], "import keras_focal alone": []}
    for _ in range(rounds):
        plain = seconds("import keras", backend)
        figures["whole process, with keras_focal"].append(seconds(both, backend) / plain)
        figures["import keras_focal alone"].append(own_seconds(backend) / plain)
    rows = []
    for (name, ratios), target in zip(figures.items(), (1.02, 0.02), strict=True):
        low, middle, high = statistics.quantiles(ratios, n=4)
        rows.append(Row("Import", backend, name, "import keras", middle, low, high, target))
    return rows


def measure(quick):
    backends = BACKENDS[:1] if quick else BACKENDS
    rows = [row for backend in backends for row in rows_of(backend, 2 if quick else 11)]
    return rows, environment("tensorflow", "jax")


if __name__ == "__main__":
    main("import_time", measure)
