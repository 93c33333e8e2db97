"""Columns that belong together by their names: by numbers, or by the words of the labels."""

import re
from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from keras_focal.cli._errors import CommandError
from keras_focal.cli.readers._rows import Classes

PREDICTED = frozenset(
    [
        "predicted",
        "prediction",
        "pred",
        "y_pred",
        "y_hat",
        "yhat",
        "predicted_class",
        "predicted_label",
        "pred_class",
        "pred_label",
        "top_label",
    ]
)
CONFIDENCE = frozenset(
    [
        "confidence",
        "confidences",
        "conf",
        "max_prob",
        "max_probability",
        "top_prob",
        "top_probability",
    ]
)

_WORDS = frozenset(
    [
        "logit",
        "logits",
        "prob",
        "probs",
        "proba",
        "probability",
        "probabilities",
        "p",
        "pred",
        "preds",
        "prediction",
        "predictions",
        "score",
        "scores",
        "softmax",
        "sigmoid",
        "output",
        "outputs",
        "class",
        "cls",
        "yhat",
        "hat",
    ]
)
ONE_COLUMN = frozenset(
    ["logit", "prob", "proba", "probability", "p", "score", "y_prob", "y_proba", "y_score"]
)
_BOOKKEEPING = frozenset(
    [
        "id",
        "ids",
        "index",
        "idx",
        "row",
        "fold",
        "split",
        "weight",
        "weights",
        "sample_weight",
        "timestamp",
        "time",
        "date",
        "datetime",
        "file",
        "filename",
        "path",
        "name",
        "url",
        "uuid",
        "subject",
        "patient",
        "group",
        "loss",
        "correct",
        "entropy",
    ]
)


class Family(NamedTuple):
    """Columns whose names say that they belong together."""

    columns: list[str]
    classes: Classes


def numbered(rest: list[str]) -> Iterable[Family]:
    """Yield the sets of columns whose names differ only in a number and denote predictions."""
    groups: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for name in rest:
        if match := re.fullmatch(r"(.*?)(\d+)(\D*)", name):
            before, number, after = match.groups()
            if name in groups[before, after]:
                raise CommandError(
                    f"two columns have the same name, {name!r}. Give each its own name."
                )
            groups[before, after][name] = int(number)
    for (before, after), numbers in groups.items():
        words = set(re.findall("[a-z]+", f"{before} {after}".lower()))
        is_said = bool(words & _WORDS) or not (before or after)
        if is_said and (len(numbers) > 1 or set(numbers.values()) == {1}):
            yield in_order(numbers)


def in_order(numbers: dict[str, int]) -> Family:
    """Return columns ordered by their numbers, which must begin at 0 or 1 and leave none out."""
    order = sorted(numbers, key=numbers.__getitem__)
    found = [numbers[name] for name in order]
    for one, other in pairwise(order):
        if numbers[one] == numbers[other]:
            raise CommandError(
                f"{one!r} and {other!r} have the same number. Choose with --columns."
            )
    if found == [1]:
        return Family(order, Classes())
    first = found[0]
    if first > 1 or len(found) == 1 or found != list(range(first, first + len(found))):
        absent = next((n for n in range(first, found[-1]) if n not in set(found)), None)
        what = f"{absent} is missing" if absent is not None else f"they begin at {first}"
        raise CommandError(
            f"the columns {listed(order)} must be numbered 0, 1, 2 ... or 1, 2, 3 ...: {what}. "
            "Name those of all classes with --columns."
        )
    return Family(order, Classes([str(n) for n in found], is_ordered=False) if first else Classes())


def named_by_words(rest: list[str], words: set[str]) -> Family | None:
    """Return the columns that are named by the labels, or None."""
    if not words:
        return None
    try:
        before, after = around(rest, words)
    except CommandError:
        return None
    columns = {f"{before}{word}{after}" for word in words}
    found = [name for name in rest if name in columns]
    others = [
        name
        for name in rest
        if name not in columns
        and name.startswith(before)
        and name.endswith(after)
        and (before or after or not _is_bookkeeping(name))
    ]
    if others:
        raise CommandError(
            f"the labels name the columns {listed(found)}, and not {listed(others)}. Name the "
            f"columns of all classes with --columns, such as --columns {example(found)}."
        )
    stop = -len(after) or None
    return Family(found, Classes([name[len(before) : stop] for name in found], False))


def around(names: list[str], words: set[str]) -> tuple[str, str]:
    """Return what stands before and after the words in the names of columns."""
    present = set(names)
    word = max(words, key=len)
    for name in sorted(names, key=len):
        at = name.find(word)
        if at >= 0:
            before, after = name[:at], name[at + len(word) :]
            if all(f"{before}{each}{after}" in present for each in words):
                return before, after
    missing = next((each for each in sorted(words) if each not in present), word)
    raise CommandError(
        f"the label {missing!r} has no column among {listed(names)}. Name the columns by the "
        "labels, or write class ids as labels."
    )


def numbers_of(names: list[str]) -> list[str] | None:
    """Return the numbers of names that differ only in them, or None."""
    parts = [re.fullmatch(r"(.*?)(\d+)(\D*)", name) for name in names]
    ends = {(part[1], part[3]) if part else None for part in parts}
    if len(names) == 1 or len(ends) > 1 or None in ends:
        return None
    return [str(int(part[2])) for part in parts if part]


def _is_bookkeeping(name: str) -> bool:
    lower = name.lower()
    return (
        not name
        or lower in _BOOKKEEPING | PREDICTED | CONFIDENCE
        or bool(re.fullmatch(r"unnamed: \d+|__index_level_\d+__", lower))
    )


def listed(names: list[str]) -> str:
    """Return names for an error, a few of many."""
    shown = [name or "(no name)" for name in names]
    return ", ".join(shown if len(shown) <= 8 else [*shown[:3], "...", shown[-1]])


def example(names: list[str]) -> str:
    """Return an example of the value of --columns."""
    return ",".join([name for name in names if not _is_bookkeeping(name)][:4]) or "prob_0,prob_1"
