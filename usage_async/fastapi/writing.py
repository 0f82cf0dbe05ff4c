"""Writing of large values as JSON, in pieces: some rows in each turn of the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import attrs

from usage_async._api.pages import UsageTimeBucket
from usage_async._codec.converter import dumps, to_dict
from usage_async._sums.totals import Summary

STEP_ROWS = 500
"""Rows that are written in one turn of the event loop: some 5 ms."""


def parts_of(bucket: UsageTimeBucket[Any]) -> Sequence[UsageTimeBucket[Any]]:
    """Divide a bucket into ones of at most `STEP_ROWS` rows; an empty one has no parts."""
    blank = attrs.evolve(bucket, results=(), other_results=())
    return [
        attrs.evolve(blank, **{name: rows[start : start + STEP_ROWS]})
        for name in ("results", "other_results")
        for rows in (getattr(bucket, name),)
        for start in range(0, len(rows), STEP_ROWS)
    ]


def summary_as_json(summary: Summary[Any]) -> AsyncIterator[bytes]:
    """Write a summary as `dumps` does."""
    shell = to_dict(attrs.evolve(summary, groups=()))
    return _object(shell, "groups", _written(summary.groups))


def buckets_as_json(
    buckets: Sequence[UsageTimeBucket[Any]], about: dict[str, Any]
) -> AsyncIterator[bytes]:
    """Write an object with the `buckets` and other fields.

    Args:
        buckets: The buckets.
        about: The object with all fields, whose `buckets` are replaced.
    """
    return _object(about, "buckets", _written_buckets(buckets))


async def _written_buckets(buckets: Sequence[UsageTimeBucket[Any]]) -> AsyncIterator[bytes]:
    rows = 0
    for number, bucket in enumerate(buckets):
        if number:
            yield b","
        rows += len(bucket.results) + len(bucket.other_results) + 1
        if len(bucket.results) + len(bucket.other_results) > STEP_ROWS:
            shell = to_dict(attrs.evolve(bucket, results=(), other_results=()))
            all_rows = (*bucket.results, *bucket.other_results)
            async for piece in _object(shell, "results", _written(all_rows)):
                yield piece
        else:
            yield dumps(bucket)
        if rows > STEP_ROWS:
            rows = 0
            await asyncio.sleep(0)


async def _written(rows: Sequence[Any]) -> AsyncIterator[bytes]:
    for start in range(0, len(rows), STEP_ROWS):
        if start:
            yield b","
            await asyncio.sleep(0)
        yield b",".join(map(dumps, rows[start : start + STEP_ROWS]))


async def _object(
    shell: dict[str, Any], field: str, items: AsyncIterator[bytes]
) -> AsyncIterator[bytes]:
    """Write an object, and items in place of one field."""
    before = b"{"
    for name, value in shell.items():
        yield before + dumps(name) + b":"
        before = b","
        if name != field:
            yield dumps(value)
            continue
        yield b"["
        async for piece in items:
            yield piece
        yield b"]"
    yield b"}"
