"""The page that calculates, opened as a file in headless Chromium."""

import base64
import io
from pathlib import Path

import keras
import numpy as np
import pytest

INDEX = Path(__file__).resolve().parents[2] / "docs" / "calculator" / "index.html"


@pytest.fixture(scope="module")
def page(browser):
    """The page as it opens; what it complains of is an error."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the page has no backend: it is tested once")
    opened = browser.new_page()
    problems, opened.requests = [], []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda message: problems.append(message.text))
    opened.on("request", lambda request: opened.requests.append(request.url))
    opened.goto(INDEX.as_uri())
    yield opened
    opened.close()
    assert problems == []


READ = """async ([files, ask, settings]) => Promise.all(files.map(async ([name, content]) => {
  const bytes = Uint8Array.from(atob(content), (each) => each.charCodeAt(0));
  try {
    const table = await (name.endsWith(".npz") ? npz.read(bytes, ask) : csv.read(bytes, ask));
    const data = entries.dataSet(table, ask);
    const out = {
      labels: [...data.labels], classNames: data.classNames, isLogits: data.isLogits,
      columns: table.columns, labelsName: table.labelsName, numInvalid: data.numInvalid,
      values: data.values.length < 5e4 ? [...data.values] : null, figures: [],
    };
    for (const { temperature, gamma, numBins } of settings) {
      const room = calibration.room(data.size);
      const found = calibration.predict(data, { temperature, gamma }, room);
      out.figures.push(calibration.figures(found, numBins, data.isNarrow));
    }
    return out;
  } catch (error) {
    if (!(error instanceof ReadError)) throw error;
    return { error: error.message, field: error.field };
  }
}))"""
"""Reads files and measures them as they are shown, each at some settings."""


@pytest.fixture(scope="module")
def read(page):
    """What the page makes of files, pairs of a name and bytes."""

    def read(files, settings=(), predictions="", labels="", kind="", skip_invalid=False):
        ask = {"predictions": predictions, "labels": labels, "kind": kind}
        ask["skipInvalid"] = skip_invalid
        pairs = [[name, base64.b64encode(content).decode()] for name, content in files]
        return page.evaluate(READ, [pairs, ask, list(settings)])

    return read


@pytest.fixture(scope="session")
def npz_of():
    def npz_of(save=np.savez, **arrays):
        content = io.BytesIO()
        save(content, **arrays)
        return content.getvalue()

    return npz_of
