"""The program of the guide, on each of the runners that the guide names."""

import os
import re
import shlex
import subprocess
import sys

import backends
import documents
import pytest

pytest.importorskip("apache_beam", reason="needs the extra `beam`")
pytest.importorskip("distributed", reason="needs dask[distributed]")

GUIDE = "docs/guides/streaming.md"


@pytest.mark.nightly
@pytest.mark.skipif(backends.BACKEND != "tensorflow", reason="an engine is no backend")
def test_every_command_of_the_guide_prints_the_same_figures(tmp_path):
    (program,) = documents.blocks(GUIDE)
    (tmp_path / "measure.py").write_text(program)
    commands = re.findall(r"^python (measure\.py.*)$", (documents.ROOT / GUIDE).read_text(), re.M)
    assert len(commands) == 3
    environment = {**os.environ, "PYTHONPATH": f"{documents.ROOT}"}
    printed = []
    for command in commands:
        words = [sys.executable, *shlex.split(command)]
        answer = subprocess.run(
            words, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment
        )
        assert answer.returncode == 0, answer.stderr
        printed.append(answer.stdout)
    assert printed[0].count("8000 predictions, 0 not finite") == 2
    assert printed[1:] == printed[:1] * 2
