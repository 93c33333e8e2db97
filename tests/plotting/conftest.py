import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt


@pytest.fixture(autouse=True)
def _leaves_the_global_settings_and_closes_its_figures():
    before = dict(mpl.rcParams)
    yield
    plt.close("all")
    assert dict(mpl.rcParams) == before


@pytest.fixture
def data(rng):
    """64 labels and probabilities, shape (64, 4)."""
    return rng.integers(0, 4, 64), rng.dirichlet(np.ones(4), 64).astype("float32")
