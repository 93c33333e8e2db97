"""A pipeline from files to reports, run by Beam itself on this machine."""

import numpy as np
import predictions
import pytest
import reference

from keras_focal import calibration

beam = pytest.importorskip("apache_beam", reason="needs the extra `beam`")
testing = pytest.importorskip("apache_beam.testing.util")
combine = pytest.importorskip("keras_focal.beam").CombineCalibration(from_logits=True)

NUM_FILES = 3


def read(path):
    """Return the logits and labels of a file."""
    with np.load(path) as file:
        return file["logits"], file["labels"]


def by_parity(batch):
    """Return the rows of a batch, keyed by whether their label is odd."""
    return [(int(label % 2), (row, label)) for row, label in zip(*batch, strict=True)]


def scaled(batch, report):
    logits, labels = batch
    return logits / np.float32(report.nll_fit.temperature), labels


def check(report, labels, logits):
    """Raise unless a report is that of predictions in memory."""
    ece = reference.ece(*reference.top_label(labels, reference.softmax64(logits)))
    assert report.count == len(labels)
    assert report.ece == pytest.approx(ece, abs=1e-6)
    fit = calibration.fit_temperature(logits, labels)
    assert report.nll_fit.temperature == pytest.approx(fit.temperature, rel=1e-6)


def test_pipeline_gives_the_reports_of_the_predictions_in_memory(tmp_path):
    labels, logits, _ = predictions.example("random")
    for i in range(NUM_FILES):
        part = slice(i, None, NUM_FILES)
        np.savez(tmp_path / f"{i}.npz", logits=logits[part], labels=labels[part])
    fit = calibration.fit_temperature(logits, labels)

    def check_whole(reports):
        (report,) = reports
        check(report, labels, logits)

    def check_keys(reports):
        assert sorted(key for key, _ in reports) == [0, 1]
        for key, report in reports:
            check(report, labels[labels % 2 == key], logits[labels % 2 == key])

    def check_calibrated(reports):
        (report,) = reports
        assert report.ece == pytest.approx(fit.ece_after, abs=1e-6)
        assert report.nll == pytest.approx(fit.nll_after, abs=1e-6)

    def check_nothing(reports):
        (report,) = reports
        assert (report.count, report.ece, report.nll_fit.temperature) == (0.0, 0.0, 1.0)

    with beam.Pipeline() as pipeline:
        paths = [str(tmp_path / f"{i}.npz") for i in range(NUM_FILES)]
        batches = pipeline | beam.Create(paths) | beam.Map(read)
        whole = batches | "whole" >> beam.CombineGlobally(combine)
        keys = batches | beam.FlatMap(by_parity) | "keys" >> beam.CombinePerKey(combine)
        # A second pass, over logits divided by the temperature that the first one found.
        calibrated = (
            batches
            | beam.Map(scaled, beam.pvalue.AsSingleton(whole))
            | "calibrated" >> beam.CombineGlobally(combine)
        )
        nothing = (
            batches | beam.Filter(lambda _: False) | "nothing" >> beam.CombineGlobally(combine)
        )
        testing.assert_that(whole, check_whole, "check whole")
        testing.assert_that(keys, check_keys, "check keys")
        testing.assert_that(calibrated, check_calibrated, "check calibrated")
        testing.assert_that(nothing, check_nothing, "check nothing")
