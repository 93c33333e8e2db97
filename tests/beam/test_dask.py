"""A pipeline on a second engine: Beam's DaskRunner, on a local cluster of two processes."""

import logging
import os
import pickle

import backends
import predictions
import pytest

from keras_focal import calibration

beam = pytest.importorskip("apache_beam", reason="needs the extra `beam`")
distributed = pytest.importorskip("distributed", reason="needs dask[distributed]")
pytestmark = pytest.mark.skipif(backends.BACKEND != "tensorflow", reason="an engine is no backend")


@pytest.fixture
def cluster():
    """Two worker processes with one thread each."""
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # of workers that are told to stop
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as started:
        yield started


@pytest.mark.nightly
def test_two_processes_give_the_reports_of_the_predictions_in_memory(cluster, tmp_path):
    from apache_beam.options.pipeline_options import PipelineOptions

    from keras_focal.beam import CombineCalibration

    labels, logits, _ = predictions.example("random")
    batches = [
        (parity, (logits[kept][start::4], labels[kept][start::4]))
        for parity in (0, 1)
        for kept in [labels % 2 == parity]
        for start in range(4)
    ]

    # Functions of this body are sent to the workers, which do not know this module.
    def with_process(batch):
        (tmp_path / f"{os.getpid()}.process").touch()
        return batch

    def save(keyed):
        parity, report = keyed
        (tmp_path / f"{parity}.report").write_bytes(pickle.dumps(report))

    options = PipelineOptions(
        [
            "--runner=apache_beam.runners.dask.dask_runner.DaskRunner",
            f"--dask_client_address={cluster.scheduler_address}",
            "--dask_npartitions=4",
        ]
    )
    pipeline = beam.Pipeline(options=options)
    read = pipeline | beam.Create(batches) | beam.Map(with_process)
    reports = read | beam.CombinePerKey(CombineCalibration(from_logits=True))
    reports | "save" >> beam.Map(save)
    result = pipeline.run()
    result.wait_until_finish()
    result.client.close()  # the runner leaves it open

    for parity in (0, 1):
        found = pickle.loads((tmp_path / f"{parity}.report").read_bytes())
        kept = labels % 2 == parity
        fit = calibration.fit_temperature(logits[kept], labels[kept])
        assert found.count == kept.sum()
        assert found.nll_fit.temperature == pytest.approx(fit.temperature, rel=1e-6)
        assert found.nll == pytest.approx(fit.nll_before, abs=1e-6)
        assert found.ece == pytest.approx(fit.ece_before, abs=1e-6)
    ran = {int(path.stem) for path in tmp_path.glob("*.process")}
    assert ran
    assert os.getpid() not in ran
