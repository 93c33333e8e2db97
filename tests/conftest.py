"""Two virtual devices for every backend, set before any framework starts; shared fixtures."""

import gc
import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# TensorFlow uses oneDNN, whose softmax loses NaN, on newer processors alone: here on all.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# Programs of tests are small, and compiling them takes longer than running them: by day without the
# optimisations of LLVM and, on JAX, without XLA's fusion emitters. `.ci/nightly` has them: it sets
# XLA_FLAGS.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0"
    + " --xla_cpu_use_fusion_emitters=false" * (os.environ.get("KERAS_BACKEND") == "jax"),
)
os.environ["XLA_FLAGS"] += " --xla_force_host_platform_device_count=2"
os.environ.setdefault("MPLBACKEND", "Agg")

import cases
import keras
import numpy as np
import pytest

BACKEND = keras.backend.backend()

if BACKEND == "tensorflow":
    import tensorflow as tf

    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )


def pytest_addoption(parser):
    parser.addoption(
        "--nightly", action="store_true", help="every case, and the tests that take long"
    )
    parser.addoption(
        "--cases",
        type=cases.number,
        metavar="values|all|N",
        help="which cases of a test with parameters: the fewest that have every value of each "
        "(default), all combinations (--nightly), or N at most, and of each check of one",
    )


def pytest_configure(config):
    config.addinivalue_line("markers", "nightly: takes long, and is run with --nightly alone")
    if BACKEND == "tensorflow" and not config.getoption("--nightly"):
        # What Grappler does to a graph takes longer than a test runs it.
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Spare the garbage collector the thousands of tests, here and while they run."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_collection_modifyitems(config, items):
    is_nightly, number = config.getoption("--nightly"), config.getoption("--cases")
    by_day = [item for item in items if is_nightly or "nightly" not in item.keywords]
    if number is None:
        number = cases.ALL if is_nightly else cases.VALUES
    left_out = set(by_day) - cases.chosen(by_day, number)
    config.hook.pytest_deselected(items=[item for item in items if item in left_out])
    items[:] = [item for item in items if item not in left_out]
    for item in set(items) - set(by_day):
        item.add_marker(pytest.mark.skip(reason="takes long: run with --nightly"))


SEEDS: list[int] = []
"""What TensorFlow's seed was set to since the last test began, or [0]."""

if BACKEND == "tensorflow":

    def _noted(seed, set_seed=tf.random.set_seed):
        SEEDS.append(seed)
        set_seed(seed)

    tf.random.set_seed = _noted


@pytest.fixture(autouse=True)
def _seeded():
    """Seed every generator; that of TensorFlow only after a test that has seeded it.

    Seeding it makes TensorFlow forget its kernels, which is a quarter of the time of small tests.
    A `fit` begins its own generator with the seed.
    """
    if BACKEND == "tensorflow" and SEEDS == [0]:
        with mock.patch.object(tf.random, "set_seed"):
            keras.utils.set_random_seed(0)
        return
    SEEDS.clear()
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="session")
def eagerly(pytestconfig):
    """A context that runs steps of TensorFlow eagerly: a fifth of the time of tracing a few.

    With --nightly they are traced, as those of a user are.
    """
    is_eager = BACKEND == "tensorflow" and not pytestconfig.getoption("--nightly")

    @contextmanager
    def eager():
        before = is_eager and tf.config.functions_run_eagerly()
        if is_eager:
            tf.config.run_functions_eagerly(True)
        try:
            yield
        finally:
            if is_eager:
                tf.config.run_functions_eagerly(before)

    return eager


@pytest.fixture
def few_steps(eagerly):
    """Run the few steps of a test eagerly."""
    with eagerly():
        yield


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets; a test that needs it is skipped where it is absent."""
    root = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("KERAS_FOCAL_DATA", root.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder}; set KERAS_FOCAL_DATA")
    return folder


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium, Playwright's own or one that is installed; of one module of tests.

    Its event loop runs as long as it is open, and would be in the way of other modules.
    """
    api = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
    with api.sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        found = next(filter(shutil.which, (own, "chromium", "google-chrome")), None)
        if found is None:
            pytest.skip("needs Chromium")
        path = shutil.which(found)
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def mirrored():
    """One MirroredStrategy over two devices: two in one process may mix up their reductions."""
    if BACKEND != "tensorflow":
        pytest.skip("tf.distribute works with the TensorFlow backend alone")
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    assert strategy.num_replicas_in_sync == 2
    return strategy


@pytest.fixture
def data_parallel():
    """Two JAX devices, each with its half of the batch, while the test runs."""
    if BACKEND != "jax":
        pytest.skip("keras.distribution.DataParallel works with the JAX backend alone")
    import jax

    devices = jax.devices("cpu")
    assert len(devices) >= 2
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices[:2]))
    yield
    keras.distribution.set_distribution(None)
