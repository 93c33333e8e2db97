"""Which columns of a table are predictions, and of which classes: said by the user, or plain."""

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import NamedTuple

from keras_focal.cli._errors import CommandError, near
from keras_focal.cli.readers._rows import Ask, Classes

PREDICTIONS = ("logits", "probabilities", "probs", "predictions", "y_pred", "scores", "outputs")
LABELS = ("labels", "label", "y_true", "y", "targets", "target")
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
_ONE_COLUMN = frozenset(
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


class _Family(NamedTuple):
    """Columns whose names say that they belong together."""

    columns: list[str]
    classes: Classes


def array_name(option: str, given: str | None, names: Iterable[str], usual: tuple[str, ...]) -> str:
    """Return the one of the names that was given, or that is a usual one."""
    names = list(names)
    found = [name for name in names if (name == given if given else name.lower() in usual)]
    if len(found) != 1:
        listed = ", ".join(names[:20]) or "nothing"
        if found:
            what = f"{found[0]!r} twice" if given or found[0] == found[1] else " and ".join(found)
            raise CommandError(f"the file has {what}. Say which with {option}: {listed}.")
        what = f"no {given!r}" if given else f"none of {', '.join(usual)}"
        raise CommandError(
            f"the file has {what}, but: {listed}.{near(given, names)} Say which with {option}."
        )
    return found[0]


def choose(
    names: list[str], ask: Ask, words_of: Callable[[str], set[str]], index: Iterable[str] = ()
) -> Choice:
    """Return the columns of a table that are labels and predictions, or raise.

    Args:
        names: All columns.
        ask: What the user said.
        words_of: Gives the values of the first rows of a column that are not numbers.
        index: Columns that are known to be an index.
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
            f"columns {' and '.join(at)} have one name, {double!r}. Give each its own name."
        )
    read = set(choice.read)
    return choice._replace(ignored=tuple(name for name in names if name not in read))


def _named(rest: list[str], given: str, words: set[str]) -> _Family:
    chosen = [name.strip() for name in next(csv.reader([given], skipinitialspace=True), [])]
    absent = next((name for name in chosen if name not in rest), None)
    if absent is not None or not chosen:
        raise CommandError(
            f"--columns must name columns of predictions, with commas between. Received: "
            f"{absent or given!r}; the file has: {', '.join(rest[:20])}.{near(absent, rest)}"
        )
    if len(set(chosen)) < len(chosen):
        raise CommandError(f"--columns must name each column once. Received: {given}.")
    if not words:
        return _Family(chosen, Classes(_numbers(chosen) or chosen, not _numbers(chosen)))
    before, after = _around(chosen, words)
    stop = -len(after) or None
    return _Family(chosen, Classes([name[len(before) : stop] for name in chosen]))


def _prefixed(rest: list[str], prefix: str) -> _Family:
    chosen = [name for name in rest if name.startswith(prefix)]
    if not chosen:
        raise CommandError(
            f"the file has no columns of predictions that begin with {prefix!r}, but: "
            f"{', '.join(rest[:20])}. Say which with --predictions-key or --columns."
        )
    ends = [name[len(prefix) :] for name in chosen]
    if all(end.isdecimal() for end in ends):
        return _in_order({name: int(end) for name, end in zip(chosen, ends, strict=True)})
    return _Family(chosen, Classes(ends, is_ordered=len(chosen) == 1))


def _recognised(label: str, rest: list[str], words: set[str]) -> Choice:
    """Return the one family of columns that are predictions by their names."""
    of_words = _of_words(rest, words)
    named = of_words.columns if of_words else []
    families = [*_numbered([name for name in rest if name not in named])]
    if of_words:
        families.append(of_words)
    predicted = [name for name in rest if name.lower() in PREDICTED]
    confidence = [name for name in rest if name.lower() in CONFIDENCE]
    if not families and len(predicted) == len(confidence) == 1:
        return Choice(label, confidence, Classes(), predicted[0])
    if not families and not predicted:
        families = [_Family([name], Classes()) for name in rest if name.lower() in _ONE_COLUMN]
    if len(families) == 1:
        return Choice(label, *families[0])
    if families:
        found = " and ".join(_listed(family.columns) for family in families)
        raise CommandError(
            f"the file has several sets of columns that may be predictions: {found}. Say which "
            "with --predictions-key, what their names begin with, or --columns, their names."
        )
    raise CommandError(
        f"no columns are predictions by their names: {_listed(rest) or 'there are none'}. Name "
        f"them in the order of the classes, such as --columns {_example(rest)}. Read without "
        "that are names with numbers (prob_0, prob_1, ...) and the labels' own words."
    )


def _numbered(rest: list[str]) -> Iterable[_Family]:
    """Yield the sets of columns that differ in a number alone and say that they are predictions."""
    groups: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for name in rest:
        if match := re.fullmatch(r"(.*?)(\d+)(\D*)", name):
            before, number, after = match.groups()
            if name in groups[before, after]:
                raise CommandError(f"two columns have one name, {name!r}. Give each its own name.")
            groups[before, after][name] = int(number)
    for (before, after), numbers in groups.items():
        words = set(re.findall("[a-z]+", f"{before} {after}".lower()))
        is_said = bool(words & _WORDS) or not (before or after)
        if is_said and (len(numbers) > 1 or set(numbers.values()) == {1}):
            yield _in_order(numbers)


def _in_order(numbers: dict[str, int]) -> _Family:
    """Return columns ordered by their numbers, which must begin at 0 or 1 and leave none out."""
    order = sorted(numbers, key=numbers.__getitem__)
    found = [numbers[name] for name in order]
    for one, other in pairwise(order):
        if numbers[one] == numbers[other]:
            raise CommandError(f"{one!r} and {other!r} have one number. Choose with --columns.")
    if found == [1]:
        return _Family(order, Classes())
    first = found[0]
    if first > 1 or len(found) == 1 or found != list(range(first, first + len(found))):
        absent = next((n for n in range(first, found[-1]) if n not in set(found)), None)
        what = f"{absent} is not there" if absent is not None else f"they begin at {first}"
        raise CommandError(
            f"the columns {_listed(order)} must be numbered 0, 1, 2 ... or 1, 2, 3 ...: {what}. "
            "Name those of all classes with --columns."
        )
    return _Family(
        order, Classes([str(n) for n in found], is_ordered=False) if first else Classes()
    )


def _of_words(rest: list[str], words: set[str]) -> _Family | None:
    """Return the columns that are named by the labels, or None."""
    if not words:
        return None
    try:
        before, after = _around(rest, words)
    except CommandError:
        return None
    if before or after:
        chosen = [
            name
            for name in rest
            if name.startswith(before)
            and name.endswith(after)
            and len(name) > len(before) + len(after)
        ]
    else:
        chosen = [name for name in rest if not _is_bookkeeping(name)]
        others = [name for name in chosen if name not in words]
        if others:
            raise CommandError(
                f"the labels name the columns {_listed([n for n in chosen if n in words])}, and "
                f"not {_listed(others)}. Name the columns of all classes with --columns, such as "
                f"--columns {_example([n for n in chosen if n in words])}."
            )
    stop = -len(after) or None
    return _Family(chosen, Classes([name[len(before) : stop] for name in chosen], False))


def _around(names: list[str], words: set[str]) -> tuple[str, str]:
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
        f"the label {missing!r} has no column among {_listed(names)}. Name the columns by the "
        "labels, or write class ids as labels."
    )


def _numbers(names: list[str]) -> list[str] | None:
    """Return the numbers of names that differ in nothing else, or None."""
    parts = [re.fullmatch(r"(.*?)(\d+)(\D*)", name) for name in names]
    around = {(part[1], part[3]) if part else None for part in parts}
    if len(names) == 1 or len(around) > 1 or None in around:
        return None
    return [str(int(part[2])) for part in parts if part]


def _is_bookkeeping(name: str) -> bool:
    lower = name.lower()
    return (
        not name
        or lower in _BOOKKEEPING | PREDICTED | CONFIDENCE
        or bool(re.fullmatch(r"unnamed: \d+|__index_level_\d+__", lower))
    )


def _listed(names: list[str]) -> str:
    shown = [name or "(no name)" for name in names]
    return ", ".join(shown if len(shown) <= 8 else [*shown[:3], "...", shown[-1]])


def _example(names: list[str]) -> str:
    return ",".join([name for name in names if not _is_bookkeeping(name)][:4]) or "prob_0,prob_1"
