"""Content of the pages: made-up rows in the service's words, the same in every run."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import attrs

START = 1_733_011_200
"""2024-12-01 UTC. A year from here lies in the past."""

WIDTH_SECONDS = {"1m": 60, "1h": 3600, "1d": 86400}
PAGE_BUCKETS = {"1m": 1440, "1h": 168, "1d": 31}

_POOL = 64
"""Number of different rows. They repeat, since the server renders all pages beforehand."""

_BY_MODEL = {"project_id": "", "user_id": None, "api_key_id": None, "model": ""}
_TOKENS = {
    "input_tokens": 0,
    "input_cached_tokens": 0,
    "input_cache_write_tokens": 0,
    "input_uncached_tokens": 0,
    "output_tokens": 0,
    "input_text_tokens": 0,
    "output_text_tokens": 0,
    "input_cached_text_tokens": 0,
    "input_audio_tokens": 0,
    "input_cached_audio_tokens": 0,
    "output_audio_tokens": 0,
    "input_image_tokens": 0,
    "input_cached_image_tokens": 0,
    "output_image_tokens": 0,
    "num_model_requests": 0,
    **_BY_MODEL,
    "batch": None,
    "service_tier": None,
}
_ROWS: dict[str, dict[str, Any]] = {
    "completions": _TOKENS,
    "decisions": _TOKENS,
    "embeddings": {"input_tokens": 0, "num_model_requests": 0, **_BY_MODEL},
    "moderations": {"input_tokens": 0, "num_model_requests": 0, **_BY_MODEL},
    "images": {
        "images": 0,
        "num_model_requests": 0,
        "size": None,
        "source": None,
        **_BY_MODEL,
    },
    "audio_speeches": {"characters": 0, "num_model_requests": 0, **_BY_MODEL},
    "audio_transcriptions": {"seconds": 0, "num_model_requests": 0, **_BY_MODEL},
    "vector_stores": {"usage_bytes": 0, "project_id": ""},
    "code_interpreter_sessions": {"num_sessions": 0, "project_id": ""},
    "file_search_calls": {
        "num_requests": 0,
        "project_id": "",
        "user_id": None,
        "api_key_id": None,
        "vector_store_id": None,
    },
    "web_search_calls": {
        "num_model_requests": 0,
        "num_requests": 0,
        **_BY_MODEL,
        "context_level": None,
    },
    "costs": {
        "amount": {"value": "", "currency": "usd"},
        "line_item": "gpt-5.2-2026-08-01, input",
        "project_id": "",
        "organization_id": "org-Xb2kQ9vTnR4mW7cJ",
        "organization_name": "Example",
        "project_name": "Search",
        "quantity": "",
    },
}
"""Fields of a row as the service sends them. 0 stands for a figure, "" for a name or for money."""
_OBJECTS = {
    "file_search_calls": "organization.usage.file_searches.result",
    "web_search_calls": "organization.usage.web_searches.result",
    "costs": "organization.costs.result",
}
ENDPOINTS = tuple(_ROWS)


def measure(endpoint: str) -> str:
    """Name of the figure that every contestant sums: the first of the row."""
    return next(iter(_ROWS[endpoint]))


def _amount(chance: random.Random) -> str:
    """An amount as the service writes it: a string with more digits than a float has."""
    return f"0.{chance.randrange(10**12):012d}{'0' * 27}"


def row(endpoint: str, chance: random.Random) -> dict[str, Any]:
    kind = _OBJECTS.get(endpoint, f"organization.usage.{endpoint}.result")
    row: dict[str, Any] = {"object": kind}
    for name, value in _ROWS[endpoint].items():
        if isinstance(value, dict):
            row[name] = {**value, "value": _amount(chance)}
        elif value == 0:
            row[name] = chance.randrange(1_000_000)
        elif name == "quantity":
            row[name] = _amount(chance)
        elif value == "":
            row[name] = f"{name.removesuffix('_id')}_{chance.randrange(10**15):015d}"
        else:
            row[name] = value
    return row


@attrs.frozen
class Sums:
    """Findings of a contestant, which must be equal for all."""

    rows: int = 0
    total: int | float | Decimal = 0
    bytes: int = 0

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.rows + other.rows, self.total + other.total, self.bytes + other.bytes)  # type: ignore[operator] # never float and Decimal


@attrs.frozen
class Dataset:
    """Full pages of one endpoint.

    Attributes:
        endpoint: Name of the endpoint.
        width: Bucket width.
        pages: Number of pages.
        rows: Rows of each bucket.
        page_buckets: Buckets of a page, and the `limit` that is sent; None: the service's maximum.
        novel: Each row has a field that no contestant knows.
    """

    endpoint: str = "completions"
    width: str = "1m"
    pages: int = 1
    rows: int = 2
    page_buckets: int | None = None
    novel: bool = False

    @property
    def limit(self) -> int:
        return self.page_buckets or PAGE_BUCKETS[self.width]

    @property
    def path(self) -> str:
        part = "costs" if self.endpoint == "costs" else f"usage/{self.endpoint}"
        return f"/organization/{part}"

    @property
    def start(self) -> int:
        return START

    @property
    def end(self) -> int:
        return START + self.pages * self.page_seconds

    @property
    def page_seconds(self) -> int:
        return self.limit * WIDTH_SECONDS[self.width]

    def windows(self) -> Iterator[tuple[int, int]]:
        """The start and end of each page."""
        for begin in range(self.start, self.end, self.page_seconds):
            yield begin, begin + self.page_seconds

    def _pool(self) -> list[dict[str, Any]]:
        chance = random.Random(self.endpoint)
        novel = {"novel_tokens": 7} if self.novel else {}
        return [{**row(self.endpoint, chance), **novel} for _ in range(_POOL)]

    def data(self) -> Iterator[bytes]:
        """The text of each page from its `data` on."""
        texts = [json.dumps(row, separators=(",", ":")).encode() for row in self._pool()]
        # A bucket can begin anywhere in the pool, so the pool is repeated often enough.
        texts = texts * (2 + self.rows // _POOL)
        spans = [b",".join(texts[first : first + self.rows]) for first in range(_POOL)]
        width = WIDTH_SECONDS[self.width]
        bucket = b'{"object":"bucket","start_time":%d,"end_time":%d,"results":[%b]}'
        for number, (begin, end) in enumerate(self.windows()):
            first = number * self.limit * self.rows
            buckets = (
                bucket % (start, start + width, spans[(first + index * self.rows) % _POOL])
                for index, start in enumerate(range(begin, end, width))
            )
            yield b"[%b]}" % b",".join(buckets)

    def sums(self) -> Sums:
        """The expected findings, without bytes, since those depend on the requests."""
        figures = [_figure(row[measure(self.endpoint)]) for row in self._pool()]
        rows = self.pages * self.limit * self.rows
        full, rest = divmod(rows, _POOL)
        return Sums(rows, sum(figures) * full + sum(figures[:rest]))


def _figure(value: Any) -> int | Decimal:
    return Decimal(value["value"]) if isinstance(value, dict) else int(value)


def head(following: str | None) -> bytes:
    """The text of a page up to its `data`."""
    more = b"false" if following is None else b"true"
    return b'{"object":"page","has_more":%b,"next_page":%b,"data":' % (
        more,
        json.dumps(following).encode(),
    )


def page(dataset: Dataset) -> bytes:
    """The only page of a dataset."""
    (data,) = dataset.data()
    return head(None) + data


def window_bytes(dataset: Dataset) -> int:
    """Size of all pages, requested window by window."""
    return sum(len(head(None)) + len(data) for data in dataset.data())
