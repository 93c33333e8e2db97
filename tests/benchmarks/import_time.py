"""Print what `import keras_focal` adds to `import keras`, as a ratio of interleaved processes.

python tests/benchmarks/import_time.py [rounds]
"""

import os
import statistics
import subprocess
import sys
import time

PLAIN = "import keras"
OURS = "import keras; import keras_focal"


def seconds(statement: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def own_seconds() -> float:
    """Return the time of `import keras_focal` inside a process that has imported Keras."""
    code = (
        "import keras, time; start = time.perf_counter(); import keras_focal; "
        "print(time.perf_counter() - start)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    return float(answer.stdout)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    seconds(OURS)
    ratios, own = [], []
    for _ in range(rounds):
        plain = seconds(PLAIN)
        ratios.append(seconds(OURS) / plain)
        own.append(own_seconds() / plain)
    backend = os.environ.get("KERAS_BACKEND", "default backend")
    for label, values in (("whole process", ratios), ("our import alone", own)):
        low, middle, high = statistics.quantiles(values, n=4)
        print(f"{backend}, {label} / import keras: {middle:.4f} ({low:.4f} to {high:.4f})")


if __name__ == "__main__":
    main()
