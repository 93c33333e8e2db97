"""`python -m keras_focal` is the command `keras-focal`."""

import sys

from keras_focal.cli import main

if __name__ == "__main__":
    sys.exit(main())
