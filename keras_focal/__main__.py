"""`python -m keras_focal` is the command `keras-focal`."""

import sys

from keras_focal.cli import main

sys.exit(main())
