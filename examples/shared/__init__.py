"""What several examples use, and what would hide the matter of one."""

import sys
from pathlib import Path

# The root of the project: a file that is run finds only its own folder, and not `examples.paper`.
sys.path.insert(1, str(Path(__file__).resolve().parents[2]))
