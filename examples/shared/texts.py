"""The articles of 20 Newsgroups, for the examples that read text."""

import gzip
import json
import zlib
from functools import cache
from pathlib import Path

FILE = "newsgroups20_original_19997.jsonl.gz"
WANTED = (
    f"20 Newsgroups as `{FILE}`, a line of JSON with `text`, `label` and `group` for each article"
)


@cache
def read_articles(file: Path, keys: tuple[str, ...] = ("text", "label")) -> list[dict]:
    """Return the articles of a file: a line of JSON with these keys for each, in gzip."""
    try:
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            articles = [json.loads(line) for line in lines]
        if not articles:
            raise ValueError("no article")
        if not all(set(keys) <= article.keys() for article in articles):
            raise ValueError(f"an article without {' or '.join(f'`{key}`' for key in keys)}")
    except FileNotFoundError:
        raise SystemExit(f"--data-dir must hold {WANTED}. Received: {file.parent}.") from None
    except (AttributeError, EOFError, OSError, ValueError, zlib.error) as error:
        raise SystemExit(f"{file} must hold {WANTED}. Received: {error}.") from error
    return articles
