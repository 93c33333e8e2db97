"""Examples: `python examples/NAME.py` or, from the root, `python -m examples.NAME`."""

import sys
from pathlib import Path

# What several of them use is imported as `shared`, as it is when a file is run.
sys.path.append(str(Path(__file__).parent))
