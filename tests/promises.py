"""docs/promises.md: what the package promises, the tests that hold it to it, and what they gave.

python tests/promises.py                                makes the page
KERAS_BACKEND=torch python tests/promises.py --run      runs the tests on a backend first
"""

import argparse
import json
import os
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "docs" / "promises.md"
LEAKS = ROOT / "docs" / "results" / "leaks.json"
RECORD = ROOT / "docs" / "results" / "promises.json"
BACKENDS = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "torch"}
HEAD = """# Promises

What the package promises, and the tests that hold it to it. To run the tests of a promise, give
their names to pytest, with `KERAS_BACKEND` set to `tensorflow`, `jax` or `torch`:

```bash
.venv/bin/python -m pytest tests/laws/test_losses.py
```

Behind each test stands how many of its cases passed on each backend when all of them were last run,
and for a law how many random examples it was tried on. None failed: a failure is not recorded.

```bash
{commands}
```

`bash .ci/nightly` runs all tests on the three backends, and 10,000 random examples of each law. It
fails unless the tests reach every line and every branch of the package; `setup.cfg` says what is
left out. [Mutants](mutants.md) measures how many small mistakes in the code they notice.
"""

PROMISES: dict[str, list[tuple[str, tuple[str, ...]]]] = {
    "Never wrong in silence": [
        (
            "Every finite logit gives a finite loss >= 0 and a finite gradient.",
            (
                "laws/test_losses.py::test_value_is_finite_and_not_negative_for_finite_logits",
                "laws/test_losses.py::test_gradient_is_finite_for_finite_logits",
                "functional/test_focal.py::test_no_finite_logits_give_nan_or_inf",
            ),
        ),
        (
            "NaN, infinite logits and labels of no class raise an error where they can be read, "
            "and make the result NaN in a compiled step.",
            (
                "laws/test_losses.py::test_logit_that_is_no_number_is_never_silent",
                "laws/test_losses.py::test_label_of_no_class_is_never_silent",
                "functional/test_penalties.py::test_a_row_of_no_distribution_makes_the_penalty_nan",
                "functional/test_penalties.py::test_a_row_of_no_distribution_has_a_penalty_of_nan",
                "laws/test_metrics.py::test_prediction_that_is_no_number_is_never_silent",
                "laws/test_metrics.py::test_label_of_no_class_is_never_silent",
            ),
        ),
        (
            "The gamma of a probability that is NaN is NaN.",
            ("laws/test_gammas.py::test_gamma_of_nan_is_nan_and_no_other_changes",),
        ),
        (
            "A logit of NaN makes the softmax of its calibrated row NaN, and changes no other row.",
            ("laws/test_maps.py::test_logit_of_nan_makes_its_row_nan_and_no_other",),
        ),
        (
            "An entry of weight 0 or under a mask changes nothing, NaN too.",
            (
                "losses/test_family.py::test_masked_steps_count_for_nothing",
                "losses/test_family.py::test_a_weight_of_zero_is_as_if_the_sample_had_not_come",
            ),
        ),
        (
            "A model whose predictions are NaN is never taken for the best one.",
            ("metrics/test_invalid.py::test_model_of_nan_is_never_the_best",),
        ),
    ],
    "Right to the last digit": [
        (
            "Values and gradients of the focal losses agree with an oracle of 50 digits, eager and "
            "compiled.",
            (
                "functional/test_focal.py::test_value_is_accurate",
                "functional/test_focal.py::test_gradient_is_accurate",
                "functional/test_focal.py::test_second_derivative_is_that_of_the_oracle",
            ),
        ),
        (
            "Losses of probabilities and their gradients are accurate to 1e-6 of the probabilities "
            "that were given.",
            (
                "losses/test_probabilities.py::test_loss_of_probabilities_is_that_of_fifty_digits",
                "losses/test_probabilities.py"
                "::test_loss_of_probabilities_of_outputs_is_that_of_fifty_digits",
            ),
        ),
        (
            "The error of the binary focal loss is no larger than what [accuracy](accuracy.md) "
            "says of every margin that a float can hold.",
            (
                "benchmarks/test_exhaustive.py"
                "::test_error_of_some_margins_is_within_what_is_published",
                "benchmarks/test_exhaustive.py"
                "::test_half_precision_results_are_the_rounded_float32_ones",
            ),
        ),
        (
            "ECE and AdaECE of the paper's published logits are met to the last digit, from arrays "
            "and from a stream.",
            (
                "functional/test_calibration.py::test_published_ece_is_met_to_the_last_digit",
                "metrics/test_calibration_error.py"
                "::test_streamed_ece_meets_the_published_figure_to_the_last_digit",
            ),
        ),
        (
            "Counts do not stall at 2^24, and rounding errors of many batches do not add up.",
            (
                "functional/test_sums.py::test_ones_are_counted_beyond_2_to_the_24",
                "functional/test_sums.py::test_rounding_errors_of_many_additions_do_not_add_up",
            ),
        ),
        (
            "The loss of a softmax does not change when a number is added to all logits, when "
            "classes or rows are reordered; gradients of a row sum to zero.",
            (
                "laws/test_losses.py"
                "::test_adding_a_number_to_all_logits_of_a_softmax_changes_nothing",
                "laws/test_losses.py::test_classes_may_be_numbered_in_any_order",
                "laws/test_losses.py::test_gradient_of_each_row_of_a_softmax_sums_to_zero",
            ),
        ),
        (
            "Half-precision logits count as their values in float32.",
            (
                "laws/test_losses.py::test_half_precision_logits_count_as_their_values",
                "laws/test_maps.py::test_half_precision_logits_count_as_their_values",
            ),
        ),
        (
            "A calibration map gives probabilities that sum to 1 for all logits up to 10,000, for "
            "each row by itself, and the same ones if a number is added to all logits. A "
            "temperature keeps the order of the classes.",
            (
                "laws/test_maps.py::test_output_is_a_distribution_for_logits_up_to_10_000",
                "laws/test_maps.py::test_order_of_rows_does_not_matter",
                "laws/test_maps.py::test_adding_a_number_to_all_logits_changes_nothing",
                "laws/test_maps.py::test_maps_of_one_temperature_keep_the_order_of_the_classes",
            ),
        ),
        (
            "Gamma rules give what they say for every probability, and gamma_star and "
            "threshold_probability are inverses of each other.",
            (
                "laws/test_gammas.py::test_steps_have_the_gamma_of_the_interval_that_holds_p",
                "laws/test_gammas.py"
                "::test_continuous_gamma_is_within_its_bounds_and_that_of_proposition_2",
                "laws/test_gammas.py"
                "::test_threshold_gamma_raises_the_gradient_below_its_last_p0_alone",
                "laws/test_gammas.py::test_threshold_probability_inverts_gamma_star",
                "laws/test_gammas.py::test_gamma_star_inverts_threshold_probability",
            ),
        ),
    ],
    "Batches, weights, replicas": [
        (
            "Batches, and merged metrics, give what one batch of all predictions gives, in any "
            "order; weight k is k repetitions.",
            (
                "laws/test_metrics.py"
                "::test_batches_and_merged_metrics_give_what_one_batch_of_all_gives",
                "laws/test_metrics.py::test_order_of_predictions_does_not_matter",
                "laws/test_metrics.py::test_weight_k_counts_a_prediction_k_times",
                "laws/test_losses.py::test_weight_k_counts_a_row_k_times",
                "laws/test_maps.py::test_temperature_depends_on_the_rows_and_not_on_their_form",
                "laws/test_maps.py::test_weight_k_of_a_fit_counts_a_row_k_times",
            ),
        ),
        (
            "Several devices and processes give the number of one.",
            (
                "metrics/test_replicas.py::test_workers_of_one_cluster_read_the_number_of_all_rows",
                "metrics/test_replicas.py"
                "::test_states_of_processes_written_to_files_merge_to_the_number_of_all_rows",
                "metrics/test_replicas.py"
                "::test_states_written_to_files_merge_to_the_number_of_all_rows",
            ),
        ),
        (
            "Two processes of TensorFlow, JAX or torch train, measure and differentiate as one "
            "device does.",
            (
                "devices/test_processes.py"
                "::test_two_tensorflow_workers_train_measure_and_differentiate_as_one_device",
                "devices/test_processes.py"
                "::test_two_jax_processes_train_evaluate_and_differentiate_as_one_device",
                "devices/test_processes.py"
                "::test_two_torch_processes_train_measure_and_differentiate_as_one_device",
            ),
        ),
        (
            "A JAX mesh that divides rows and classes gives what one device gives.",
            (
                "devices/test_processes.py"
                "::test_mesh_of_halved_rows_and_classes_gives_what_one_device_gives",
                "functional/test_linear_mesh.py::test_devices_give_what_one_gives_and_gather_nothing",
            ),
        ),
    ],
    "Saved, copied, resumed": [
        (
            "Every class is rebuilt by its config, copied, pickled, saved with a model, and "
            "evaluates the same in a fresh process.",
            (
                "test_contract.py::test_config_holds_every_argument",
                "test_contract.py::test_saved_model_evaluates_the_same_in_a_fresh_process",
                "laws/test_losses.py::test_a_loss_made_from_its_config_is_the_same",
                "laws/test_gammas.py::test_config_copy_and_pickle_give_the_same_rule",
                "laws/test_maps.py::test_config_and_copy_give_the_same_map",
            ),
        ),
        (
            "A run that was killed goes on as an unbroken one: gamma schedules, adaptive gammas, "
            "class multipliers, monitored files, early stopping.",
            (
                "callbacks/test_resuming.py"
                "::test_run_killed_within_an_epoch_goes_on_in_any_order_of_callbacks",
                "callbacks/test_resuming.py"
                "::test_run_killed_at_any_epoch_stops_where_it_would_have",
                "callbacks/test_adaptive.py"
                "::test_run_restored_from_a_backup_goes_on_as_if_never_interrupted",
                "callbacks/test_gamma.py"
                "::test_new_model_restored_from_a_backup_resumes_the_schedule",
            ),
        ),
        (
            "A process killed in the middle of an epoch, or of a file of a callback, goes on as an "
            "unbroken run.",
            ("callbacks/test_killed.py::test_killed_process_goes_on_as_an_unbroken_run",),
        ),
    ],
    "Files": [
        (
            "Every format is read to the last bit, and `keras-focal report` with whatever options "
            "works, or says why in one line and leaves no file.",
            (
                "laws/test_files.py::test_what_was_written_is_read_to_the_last_bit",
                "laws/test_files.py::test_report_works_or_says_why_and_leaves_nothing",
            ),
        ),
        (
            "A file cut short or with flipped bits is refused in one line, or read rightly where "
            "its format has a checksum.",
            (
                "cli/test_damaged.py::test_damaged_file_is_refused_in_one_line_or_read_rightly",
                "cli/test_damaged.py::test_damaged_model_is_refused_or_read_rightly",
            ),
        ),
        (
            "A full disk or a failed export leaves the old file, and nothing half written.",
            (
                "cli/test_report.py::test_full_disk_is_named",
                "cli/test_calibrate.py::test_export_that_fails_leaves_nothing",
                "cli/test_calibrate.py::test_full_disk_leaves_the_old_model_and_no_export",
                "callbacks/test_disk.py::test_full_disk_is_named_and_leaves_every_file_as_it_was",
            ),
        ),
        (
            "A damaged record of a callback is named.",
            ("callbacks/test_resuming.py::test_damaged_record_names_its_file",),
        ),
    ],
    "Security": [
        (
            "Files and models run no code.",
            (
                "test_security.py::test_objects_in_a_file_of_predictions_are_never_unpickled",
                "test_security.py::test_model_that_holds_code_is_refused",
            ),
        ),
        (
            "Headers and archives that lie about their size cost no memory.",
            ("cli/test_files.py::test_header_never_decides_how_much_memory_is_taken",),
        ),
        (
            "A target that is a link is written only if told so.",
            ("cli/test_report.py::test_link_is_written_through_only_if_told",),
        ),
        (
            "The report escapes every name, holds no script and fetches nothing; nothing reaches "
            "for the network.",
            (
                "cli/test_report.py::test_names_are_escaped_on_the_page",
                "test_security.py::test_report_and_calibrate_work_without_a_network",
                "test_security.py::test_import_needs_no_network",
            ),
        ),
    ],
    "Speed and memory": [
        (
            "A kernel is compiled once in a process; a gamma that changes does not compile again.",
            (
                "functional/test_kernels.py::test_equal_kernels_are_traced_once_in_a_process",
                "losses/test_base.py::test_a_traced_loss_follows_gamma_without_a_retrace",
            ),
        ),
        (
            "Memory does not grow in long runs, and steps are not traced again: see below.",
            ("test_leaks.py::test_memory_and_traces_do_not_grow_in_long_runs",),
        ),
        (
            "The linear head never makes the logits.",
            ("functional/test_linear.py::test_memory_stays_a_tenth_of_the_logits",),
        ),
    ],
}
"""By topic: a promise, and its tests below `tests/`."""


def page() -> str:
    """Return the page."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    commands = "\n".join(found["command"] for found in record.values())
    parts = [HEAD.format(commands=commands)]
    for topic, promises in PROMISES.items():
        lines = []
        for text, tests in promises:
            lines += [f"- **{text}**", *(f"  - `tests/{t}`: {_passed(t, record)}" for t in tests)]
        parts.append(f"## {topic}\n\n" + "\n".join(lines) + "\n")
    parts.append(leaks())
    return "\n".join(parts)


def _passed(test: str, record: dict[str, Any]) -> str:
    """Return what passed of a test: cases or random examples by backend."""
    found = {name: record[name]["tests"].get(test, {}) for name in record}
    return ", ".join(
        f"{BACKENDS[name]} {counts.get('examples') or counts['cases']:,}"
        + " examples" * ("examples" in counts)
        for name, counts in found.items()
        if counts
    )


class Passed:
    """A plugin of pytest that counts cases and random examples that passed."""

    def __init__(self) -> None:
        self.counts: dict[str, Counter[str]] = defaultdict(Counter)

    def pytest_runtest_logreport(self, report: Any) -> None:
        test = report.nodeid.partition("[")[0].removeprefix("tests/")
        if report.when == "call" and report.passed:
            self.counts[test]["cases"] += 1
        passing = re.findall(r"(\d+) passing", getattr(report, "_hypothesis_stats", ""))
        if passing:
            self.counts[test]["examples"] += sum(map(int, passing))


def run(*, is_deep: bool) -> None:
    """Run the tests of all promises on a backend and record what passed, or exit if one fails."""
    os.environ.setdefault("XLA_FLAGS", "")
    import pytest

    backend, passed = os.environ.get("KERAS_BACKEND", "tensorflow"), Passed()
    tests = sorted({test for rows in PROMISES.values() for _, tests in rows for test in tests})
    # By file and name: a module that skips itself on a backend has no tests that could be named.
    files = sorted({str(ROOT / "tests" / test.partition("::")[0]) for test in tests})
    named = " or ".join(sorted({test.rpartition("::")[2] for test in tests}))
    options = ["-q", "-n", "auto", "--dist", "worksteal", "--nightly", "-k", named]
    if is_deep:
        options += ["--hypothesis-profile", "deep", "--hypothesis-seed", "0"]
    code = pytest.main([*options, *files], [passed])
    if code:
        raise SystemExit(f"pytest ended with {code}: nothing is recorded")
    record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    record[backend] = {
        "command": f"KERAS_BACKEND={backend} .venv/bin/python tests/promises.py --run"
        + " --deep" * is_deep,
        "tests": {test: dict(passed.counts[test]) for test in tests if passed.counts[test]},
    }
    ordered = {name: record[name] for name in BACKENDS if name in record}
    RECORD.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")


def leaks() -> str:
    """Return the section on memory in long runs, from what tests/leaks.py found."""
    lines = [
        "## Long runs",
        "",
        "Growth of the resident memory over the second half of a run, in MiB, and how often the "
        "loss was traced in that half; beside it the same with a loss and a metric of Keras. Torch "
        "runs eagerly and traces nothing. On JAX every size of batch is compiled once. Calibrating "
        "makes a model with a new layer, for which TensorFlow keeps some memory for ever.",
        "",
        "| backend | run | growth, MiB | of Keras, MiB | traces | of Keras |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    found = json.loads(LEAKS.read_text(encoding="utf-8"))
    for backend, result in found.items():
        for task, pair in result["rows"].items():
            ours, stock = pair["keras_focal"], pair["keras"]
            growths = " | ".join(f"{one['growth_mib']:.2f}" for one in (ours, stock))
            traces = " | ".join(
                "" if backend == "torch" else str(one["traces_of_second_half"])
                for one in (ours, stock)
            )
            lines.append(f"| {backend} | {ours['count']:,} {task} | {growths} | {traces} |")
    commands = "\n".join(result["command"] for result in found.values())
    return "\n".join([*lines, "", f"```bash\n{commands}\n```\n"])


def main() -> None:
    """Make the page, after running the tests if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", action="store_true", help="run the tests on KERAS_BACKEND first")
    parser.add_argument("--deep", action="store_true", help="10,000 examples of each law, seed 0")
    given = parser.parse_args()
    if given.run:
        run(is_deep=given.deep)
    FILE.write_text(page(), encoding="utf-8")
    print(FILE)


if __name__ == "__main__":
    main()
