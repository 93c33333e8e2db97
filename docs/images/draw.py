"""Draw the pictures of docs/guides/pictures.md again, with the code that the page shows.

    python docs/images/draw.py [folder]

Needs matplotlib and scikit-learn. The folder is that of this file by default.
"""

import os
import re
import sys
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")

HERE = Path(__file__).resolve().parent


def main() -> None:
    page = (HERE.parent / "guides/pictures.md").read_text()
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    os.chdir(folder)
    exec("\n".join(re.findall(r"```python\n(.*?)```", page, re.S)), {"__name__": "pictures"})


if __name__ == "__main__":
    main()
