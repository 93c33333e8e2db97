"""Which columns of a table are predictions, and of which classes: by options or by their names."""

import csv
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from keras_focal.cli._errors import CommandError, near
from keras_focal.cli.readers._families import (
    CONFIDENCE,
    ONE_COLUMN,
    PREDICTED,
    Family,
    around,
    example,
    in_order,
    listed,
    named_by_words,
    numbered,
    numbers_of,
)
from keras_focal.cli.readers._rows import MOST_CLASSES, Ask, Classes

PREDICTIONS = ("logits", "probabilities", "probs", "predictions", "y_pred", "scores", "outputs")
LABELS = ("labels", "label", "y_true", "y", "targets", "target")


class Choice(NamedTuple):
    """Columns of a table.

    Attributes:
        label: That of the labels.
        columns: Those of the predictions, in the order of the classes.
        classes: The classes.
        predicted: That of the predicted classes, where the predictions are confidences.
        ignored: All others.
    """

    label: str
    columns: list[str]
    classes: Classes
    predicted: str | None = None
    ignored: tuple[str, ...] = ()

    @property
    def read(self) -> list[str]:
        """All that are read: predictions, labels, predicted classes."""
        return [*self.columns, self.label, *([self.predicted] if self.predicted else [])]


def array_name(option: str, given: str | None, names: Iterable[str], usual: tuple[str, ...]) -> str:
    """Return the given name, or the only usual one among the names."""
    names = list(names)
    found = [name for name in names if (name == given if given else name.lower() in usual)]
    if len(found) != 1:
        known = ", ".join(names[:20]) or "nothing"
        if found:
            what = f"{found[0]!r} twice" if given or found[0] == found[1] else " and ".join(found)
            raise CommandError(f"the file has {what}. Say which with {option}: {known}.")
        what = f"no {given!r}" if given else f"none of {', '.join(usual)}"
        raise CommandError(
            f"the file has {what}, but: {known}.{near(given, names)} Say which with {option}."
        )
    return found[0]


def choose(
    names: list[str], ask: Ask, words_of: Callable[[str], set[str]], index: Iterable[str] = ()
) -> Choice:
    """Return the columns of a table that are labels and predictions, or raise.

    Args:
        names: All columns.
        ask: What the user asked for.
        words_of: Gives the values in the first rows of a column that are not numbers.
        index: Columns that the file declares to be its index.
    """
    label = array_name("--labels-key", ask.labels, names, LABELS)
    rest = [name for name in names if name != label and name not in set(index)]
    if ask.columns is not None:
        choice = Choice(label, *_named(rest, ask.columns, words_of(label)))
    elif ask.predictions is not None:
        choice = Choice(label, *_prefixed(rest, ask.predictions))
    else:
        choice = _recognised(label, rest, words_of(label))
    counts = Counter(names)
    double = next((name for name in choice.read if counts[name] > 1), None)
    if double is not None:
        at = [str(i + 1) for i, name in enumerate(names) if name == double]
        raise CommandError(
            f"columns {' and '.join(at)} have the same name, {double!r}. Give each its own name."
        )
    if len(choice.columns) > MOST_CLASSES:
        raise CommandError(f"there are {len(choice.columns)} columns; {MOST_CLASSES} are read.")
    read = set(choice.read)
    return choice._replace(ignored=tuple(name for name in names if name not in read))


def _named(rest: list[str], given: str, words: set[str]) -> Family:
    """Return the columns that --columns names, in that order."""
    chosen = [name.strip() for name in next(csv.reader([given], skipinitialspace=True), [])]
    absent = next((name for name in chosen if name not in rest), None)
    if absent is not None or not chosen:
        raise CommandError(
            f"--columns must name columns of predictions, with commas between. Received: "
            f"{absent or given!r}; the file has: {', '.join(rest[:20])}.{near(absent, rest)}"
        )
    if len(set(chosen)) < len(chosen):
        raise CommandError(f"--columns must name each column once. Received: {given}.")
    if len(chosen) == 1:
        return Family(chosen, Classes())
    if not words:
        return Family(chosen, Classes(numbers_of(chosen) or chosen, not numbers_of(chosen)))
    before, after = around(chosen, words)
    stop = -len(after) or None
    return Family(chosen, Classes([name[len(before) : stop] for name in chosen]))


def _prefixed(rest: list[str], prefix: str) -> Family:
    """Return the columns that begin with what --predictions-key says."""
    chosen = [name for name in rest if name.startswith(prefix)]
    if not chosen:
        raise CommandError(
            f"the file has no columns of predictions that begin with {prefix!r}, but: "
            f"{', '.join(rest[:20])}. Say which with --predictions-key or --columns."
        )
    if len(chosen) == 1:
        return Family(chosen, Classes())
    ends = [name[len(prefix) :] for name in chosen]
    if all(end.isdecimal() for end in ends):
        return in_order({name: int(end) for name, end in zip(chosen, ends, strict=True)})
    return Family(chosen, Classes(ends, is_ordered=False))


def _recognised(label: str, rest: list[str], words: set[str]) -> Choice:
    """Return the one family of columns that are predictions by their names."""
    of_words = named_by_words(rest, words)
    named = of_words.columns if of_words else []
    families = [*numbered([name for name in rest if name not in named])]
    if of_words:
        families.append(of_words)
    predicted = [name for name in rest if name.lower() in PREDICTED]
    confidence = [name for name in rest if name.lower() in CONFIDENCE]
    if not families and len(predicted) == len(confidence) == 1:
        return Choice(label, confidence, Classes(), predicted[0])
    if not families and not predicted:
        families = [Family([name], Classes()) for name in rest if name.lower() in ONE_COLUMN]
    if len(families) == 1:
        return Choice(label, *families[0])
    if families:
        found = " and ".join(listed(family.columns) for family in families)
        raise CommandError(
            f"the file has several sets of columns that may be predictions: {found}. Choose "
            "with --predictions-key, the prefix of their names, or --columns, their names."
        )
    raise CommandError(
        f"no columns are predictions by their names: {listed(rest) or 'there are none'}. Name "
        f"them in the order of the classes, such as --columns {example(rest)}. Without it, names "
        "with numbers (prob_0, prob_1, ...) and names made of the labels' words are read."
    )
