"""Long runs keep their memory and are not traced again: a tenth of those of tests/leaks.py."""

from pathlib import Path

import pytest
from backends import BACKEND
from harness import in_process

SCRIPT = str(Path(__file__).with_name("leaks.py"))
MOST_MIB = 4


@pytest.mark.nightly
@pytest.mark.parametrize("task", ["train steps", "fits", "calibrations"])
def test_memory_and_traces_do_not_grow_in_long_runs(task):
    found = in_process(SCRIPT, "--task", task, "--part", "10", backend=BACKEND)
    assert found["growth_mib"] < MOST_MIB
    if BACKEND != "torch":
        assert found["traces_of_second_half"] == 0
