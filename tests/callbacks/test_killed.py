"""A process that is killed, in the middle of an epoch or of a file, goes on as an unbroken run."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("killed_run.py")
KILLS = {
    "adaptive": ["batch 1", "write adaptive_gamma.json", "batch 5", "write calibration.csv"],
    "schedule": ["batch 4", "write refinement_stopping.json", "write refinement_best_0002.npz"],
}
"""How a run is killed, again and again."""


def run(folder, *arguments):
    command = [sys.executable, SCRIPT, folder, *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)


@pytest.mark.nightly
@pytest.mark.parametrize("rule", KILLS)
def test_killed_process_goes_on_as_an_unbroken_run(rule, tmp_path):
    whole = run(tmp_path / "whole", rule)
    assert whole.returncode == 0, whole.stderr
    for kill in KILLS[rule]:
        killed = run(tmp_path / "broken", rule, kill)
        assert killed.returncode == -signal.SIGKILL, (kill, killed.stderr)
    resumed = run(tmp_path / "broken", rule)
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(resumed.stdout) == json.loads(whole.stdout)
