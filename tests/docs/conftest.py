"""The built site: sphinx-build -W -b html docs docs/_build/html, as .ci/run does."""

import pytest
from documents import ROOT


@pytest.fixture(scope="session")
def site():
    folder = ROOT / "docs/_build/html"
    if not (folder / "index.html").is_file():
        pytest.skip("needs the site: sphinx-build -W -b html docs docs/_build/html")
    return folder
