"""What `keras-focal report` finds, and how it finds it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from keras_focal._quiet import import_keras
from keras_focal.cli._entries import Reading, half_step, is_logits
from keras_focal.cli._errors import CommandError
from keras_focal.cli._tables import counted
from keras_focal.cli.readers import Rows, Source
from keras_focal.cli.readers._rows import Classes

if TYPE_CHECKING:
    from keras_focal.cli._measure import Measured
    from keras_focal.functional import Interval

WORST = 10
"""Classes and mistakes that are shown."""

Progress = Callable[[str, Source], AbstractContextManager[Iterator[Rows]]]


class Options(NamedTuple):
    """How to measure a file.

    Attributes:
        from_logits: What the predictions are; None to decide by their values.
        num_bins: Bins of the errors.
        temperature: T; None to fit it.
        skip_invalid: Whether rows with NaN or infinity, or without a label, are left out.
        ignore_class: A label whose rows are left out.
        multi_label: Whether every number of a row is a prediction of its own, with its label.
    """

    from_logits: bool | None
    num_bins: int
    temperature: float | None
    skip_invalid: bool
    ignore_class: int | None
    multi_label: bool


class Result(NamedTuple):
    """What the command found.

    Attributes:
        source: The file, and what was read of it.
        kind: "logits", "probabilities" or "confidences".
        num_classes: Number of classes; None of confidences.
        num_outputs: Number of independent outputs; None if each row has one label.
        num_bins: Bins of the errors.
        temperature: T; None of confidences.
        origin: Where T is from, "given" or "of least NLL"; None of confidences.
        before: Predictions as they are.
        after: With logits / T; None of confidences.
        num_invalid: Predictions left out as invalid.
        num_ignored: Predictions left out by their label.
        num_zero: Predictions whose label had the probability 0.
        zero: What a probability of 0 counts as, if the file is rounded.
        notes: What a reader must know.
    """

    source: Source
    kind: str
    num_classes: int | None
    num_outputs: int | None
    num_bins: int
    temperature: float | None
    origin: str | None
    before: "Measured"
    after: "Measured | None"
    num_invalid: int
    num_ignored: int
    num_zero: int
    zero: float | None
    notes: list[str]

    @property
    def measured(self) -> "list[Measured]":
        """Predictions as they are, and with logits / T if there is a T."""
        return [self.before, *([self.after] if self.after else [])]

    @property
    def intervals(self) -> "list[dict[str, Interval]]":
        """The 95 % intervals of some figures before, after T, and of the change."""
        found = [each.resampled.intervals() for each in self.measured]
        if self.after:
            found.append(self.after.resampled.intervals(self.before.resampled))
        return found

    def class_name(self, label: int | str) -> str:
        """Return what a class is called in the file."""
        names = self.source.classes.names
        return names[label] if names and isinstance(label, int) else str(label)

    def what(self) -> str:
        """Return how many predictions of what kind there are."""
        count, bins = int(self.before.report.count), counted(self.num_bins, "bin")
        if self.num_outputs is not None:
            outputs = counted(self.num_outputs, "independent output")
            return f"{counted(count, 'label')} of {outputs}, {self.kind}, {bins}"
        classes = "" if self.num_classes is None else f"{self.num_classes:,} classes, "
        return f"{counted(count, 'row')} of {self.kind}, {classes}{bins}"

    def read_as(self) -> str:
        """Return the columns or arrays that were read, as what, and what was not read."""
        source = self.source
        predicted = f"; predicted classes from {source.predicted}" if source.predicted else ""
        others = f"; not read: {_listed(source.ignored)}" if source.ignored else ""
        columns = f"{self.kind} from {_listed(source.columns)}"
        return f"{columns}{predicted}; labels from {source.label}{others}"

    def worst_classes(self) -> list[tuple[int, int, float, float]]:
        """Return class, number of its labels, and its error before and after, the worst first."""
        if self.after is None:
            return []
        before, after = self.before.report.class_ece, self.after.report.class_ece
        order = np.argsort(-before, kind="stable")[:WORST]
        counts = self.before.labels
        return [(int(k), int(counts[k]), float(before[k]), float(after[k])) for k in order]


def result_of(source: Source, options: Options, progress: Progress) -> Result:
    """Measure a file."""
    first = next(source.read(), None)
    if first is None or first.predictions.size == 0:
        raise CommandError("there are no rows. The file must hold predictions and labels.")
    if source.predicted is not None:
        return _of_confidences(source, options, progress)
    num_outputs = first.predictions.shape[-1] if options.multi_label else None
    if options.multi_label:
        source = _of_outputs(source)
        first = next(source.read())
    from_logits = is_logits(first, options.from_logits)
    num_classes = max(2, first.predictions.shape[-1])
    zero = None if from_logits else half_step(first.predictions)
    reading = Reading(
        from_logits, num_classes, source.classes, zero, options.skip_invalid, options.ignore_class
    )
    how: dict[str, Any] = {"num_bins": options.num_bins}
    import_keras()
    from keras_focal.cli._measure import measure

    with progress("reading", source) as rows:
        before = measure(reading.entries(rows), num_classes, from_logits, num_mistakes=WORST, **how)
    if before.report.count == 0:
        raise CommandError(
            "no row is valid and has a label that counts. Check predictions and labels."
        )
    fit = before.report.nll_fit
    temperature = options.temperature or fit.temperature
    counts = {
        "num_invalid": reading.num_invalid,
        "num_ignored": reading.num_ignored,
        "num_zero": reading.num_zero,
    }
    with progress("after T", source) as rows:
        after = measure(
            reading.entries(rows), num_classes, from_logits, temperature=temperature, **how
        )
    result = Result(
        source=source,
        kind="logits" if from_logits else "probabilities",
        num_classes=num_classes,
        num_outputs=num_outputs,
        num_bins=options.num_bins,
        temperature=temperature,
        origin="given" if options.temperature else "of least NLL",
        before=before,
        after=after,
        zero=zero,
        notes=[],
        **counts,
    )
    return result._replace(notes=_notes(result))


def _of_outputs(source: Source) -> Source:
    """Return a source in which every number is a prediction of two classes with its own label."""

    def read() -> Iterator[Rows]:
        for rows in source.read():
            if rows.labels.shape != rows.predictions.shape:
                raise CommandError(
                    "--multi-label needs a label for each output: labels of the shape of the "
                    f"predictions. Received: labels of shape {rows.labels.shape} for predictions "
                    f"of shape {rows.predictions.shape}. Write arrays (.npz, .npy) or list columns "
                    "(.parquet) with 0 or 1 for each output."
                )
            yield rows._replace(predictions=rows.predictions[..., None])

    return source._replace(read=read, classes=Classes())


def _of_confidences(source: Source, options: Options, progress: Progress) -> Result:
    if options.temperature is not None or options.from_logits is not None or options.multi_label:
        raise CommandError(
            "the file holds predicted classes and confidences, for which there is no T and no "
            "logits. Leave out --temperature, --from-logits, --probabilities and --multi-label."
        )
    import_keras()
    from keras_focal.cli._confidences import measure_confidences

    with progress("reading", source) as rows:
        before, num_invalid, num_ignored = measure_confidences(
            rows, options.num_bins, options.skip_invalid, options.ignore_class, WORST
        )
    if before.report.count == 0:
        raise CommandError(
            "no row is valid and has a label that counts. Check predictions and labels."
        )
    result = Result(
        source=source,
        kind="confidences",
        num_classes=None,
        num_outputs=None,
        num_bins=options.num_bins,
        temperature=None,
        origin=None,
        before=before,
        after=None,
        num_invalid=num_invalid,
        num_ignored=num_ignored,
        num_zero=0,
        zero=None,
        notes=[],
    )
    return result._replace(notes=_notes(result))


def _listed(names: Sequence[str]) -> str:
    known = [name or "(no name)" for name in names]
    return ", ".join(known if len(known) <= 6 else [*known[:3], "...", known[-1]])


def _notes(result: Result) -> list[str]:
    notes, fit = [], result.before.report.nll_fit
    present = np.flatnonzero(result.before.labels)
    if result.after is not None and len(present) == 1:
        notes.append(
            f"Every label is {result.class_name(int(present[0]))}: figures of a single class mean "
            "little. Check the labels, or take rows of all classes."
        )
    if result.num_zero:
        what, fix = "the smallest normal float32", "write logits, or more decimals"
        if result.kind == "logits":
            what, fix = "a logit 1e30 below the largest", "write finite logits"
        elif result.zero:
            what = f"{result.zero:g}, half the step that the file is rounded to"
        notes.append(
            f"Probability 0 for {counted(result.num_zero, 'label')}: it counts as {what}. NLL and "
            f"T depend on that: {fix}."
        )
    if result.origin == "of least NLL":
        if fit.at_bound:
            from keras_focal.cli._measure import bound_note

            notes.append(bound_note(fit.temperature))
        notes.append(
            "T was fitted to the same rows, so its figures are slightly optimistic: fit T to "
            "validation data and pass it with --temperature."
        )
    if result.kind == "confidences":
        notes.append(
            "The file holds predicted classes and their confidence, which give figures of the top "
            "label only, and no T. Write logits or the probabilities of all classes for the rest."
        )
    if result.num_ignored:
        ignored = counted(result.num_ignored, "prediction")
        notes.append(f"Left out: {ignored} with the ignored label.")
    if result.num_invalid:
        notes.append(
            f"Left out: {counted(result.num_invalid, 'prediction')} with NaN or infinity, or "
            "without a label."
        )
    return notes
