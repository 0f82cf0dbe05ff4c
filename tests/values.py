"""Shared by the tests of pure code: captured bodies, and strategies for values."""

from __future__ import annotations

import json
from collections.abc import Generator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Context, Decimal, FloatOperation, Inexact, InvalidOperation, Rounded
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import attrs
import pytest
from hypothesis import strategies as st

from usage_async import (
    ENDPOINTS,
    ApiKey,
    ApiKeyOwner,
    CacheEvent,
    CacheStats,
    CostsResult,
    CostsResultAmount,
    DerivedLineItem,
    Extra,
    Names,
    Notice,
    Project,
    RequestEvent,
    Summary,
    TimeRange,
    UnknownResult,
    UsageCompletionsResult,
    UsageImagesResult,
    UsageResponse,
    UsageResult,
    UsageRow,
    UsageTimeBucket,
    User,
    Verification,
    converter,
)
from usage_async._api.by_id import ById
from usage_async._codec.decoded import Decoded
from usage_async._codec.pages import decode

T = TypeVar("T")

SAMPLES = Path(__file__).parent / "samples"
DAY = 86_400
START = 1_730_419_200
"""2024-11-01, midnight UTC: the bucket of the documented bodies."""

NAMES = list(ENDPOINTS)


def sample(name: str) -> bytes:
    """A body as it was captured."""
    return (SAMPLES / f"{name}.json").read_bytes()


HOSTILE = Context(prec=1, traps=[FloatOperation, Inexact, InvalidOperation, Rounded])
"""A decimal context in which most operations raise."""

HOSTILE_NAMES = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"><svg onload='alert(1)'>",
    "'; DROP TABLE",
    "&lt;b&gt;",
    "\u202eevil\u2066\u2069",
    "שלום عالم",
    "👩\u200d💻 team",
    "a\0b\x1b[2J\ud800",
    "x" * 200,
]
"""Names that try to be something else than text on a page."""

SPEC = json.loads(sample("usage-api"))
SPEC_FILE = "differs from tests/samples/usage-api.json, which holds the facts about the API"

PAGES = {
    path.stem: next(name for name in NAMES if name in path.stem)
    for path in sorted(SAMPLES.glob("*.json"))
    if path.stem.startswith(("documented_", "live_", "legacy_"))
}
"""The endpoint of every sample that is a page."""

ERRORS = sorted(path.stem for path in SAMPLES.glob("error_*.json"))


def one_row(name: str, **fields: Any) -> dict[str, Any]:
    """A row of an endpoint with its required fields."""
    kind = ENDPOINTS[name].result_class
    needed = {a.name: 1 for a in attrs.fields(kind) if a.default is attrs.NOTHING}
    return {"object": ENDPOINTS[name].object, **needed, **fields}


def one_bucket(*rows: dict[str, Any], start: int = START, **fields: Any) -> dict[str, Any]:
    """A bucket of one day."""
    times = {"start_time": start, "end_time": start + DAY}
    return {"object": "bucket", **times, "results": list(rows), **fields}


def one_page(*buckets: dict[str, Any], **fields: Any) -> bytes:
    """A last page."""
    page = {"object": "page", "data": list(buckets), "has_more": False, "next_page": None}
    return json.dumps({**page, **fields}).encode()


def utc_range(start: str, end: str) -> TimeRange:
    """A range between two times in UTC, written without an offset."""
    instants = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (start, end))
    return TimeRange(*(int(instant.timestamp()) for instant in instants))


def tokens(count: int, **more: Any) -> UsageCompletionsResult:
    """A row of one request with some input tokens."""
    return UsageCompletionsResult(input_tokens=count, output_tokens=0, num_model_requests=1, **more)


def paid(value: str, currency: str = "usd", **more: Any) -> CostsResult:
    """A row of costs."""
    return CostsResult(amount=CostsResultAmount(value=Decimal(value), currency=currency), **more)


def result_of(steps: Generator[None, None, T]) -> T:
    """Take all steps at once."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value


def decoded(body: bytes, kind: Any, using: Any = converter, *more: Any) -> Decoded[Any]:
    """Decode a page in one step."""
    return result_of(decode(body, kind, using, *more))


counts = st.integers(0, 10**15)
texts = st.text(max_size=8) | st.sampled_from(["", "proj_x", "Default project", "a,b", "\u2028"])
amounts = st.decimals(
    allow_nan=False, allow_infinity=False, min_value=Decimal("-1e12"), max_value=Decimal("1e12")
) | st.builds(
    lambda digits, power: Decimal(digits).scaleb(power),
    st.integers(-(10**40), 10**40),
    st.integers(-6000, 200),
)
finite = st.floats(allow_nan=False, allow_infinity=False)

json_values = st.recursive(
    st.none() | st.booleans() | counts | st.integers() | finite | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2)
    ),
    max_leaves=4,
)
"""JSON values, as `json` parses them."""


def extras_named(names: st.SearchStrategy[str]) -> st.SearchStrategy[Extra]:
    """Unknown fields with some names."""
    decimals = st.decimals(allow_nan=False, allow_infinity=False)
    values = json_values | decimals | st.lists(decimals, max_size=2)
    return st.just(Extra()) | st.builds(Extra, st.dictionaries(names, values, max_size=2))


extras = extras_named(st.text(max_size=4).map("new_".__add__) | st.just("extra"))


money = st.builds(
    CostsResultAmount, value=amounts, currency=st.sampled_from(["usd", "eur"]), extra=extras
)


def _values(hint: Any) -> st.SearchStrategy[Any]:
    strategies = {int: counts, bool: st.booleans(), str: texts, Decimal: amounts}
    strategies |= {CostsResultAmount: money, Extra: extras, type(None): st.none()}
    return st.one_of([strategies[of] for of in get_args(hint) or (hint,)])


def rows(kind: Any, **fixed: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Rows of one kind with any valid value in each field."""
    hints = get_type_hints(kind)
    fields = {
        a.name: _values(hints[a.name])
        for a in attrs.fields(kind)
        if a.name != "object" and a.name not in fixed
    }
    if kind is UnknownResult:
        fields["object"] = st.just("organization.usage.brand_new.result")
    return st.builds(kind, **fields, **fixed)


def buckets(kind: Any) -> st.SearchStrategy[Any]:
    """Buckets with rows of one kind, and sometimes also of other kinds."""
    others = [rows(of) for of in (UnknownResult, ENDPOINTS["vector_stores"].result_class)]
    other_results = st.lists(st.one_of(others), max_size=2).map(
        lambda found: tuple(row for row in found if not isinstance(row, kind))
    )
    return st.builds(
        UsageTimeBucket[kind],
        start_time=st.integers(0, 4 * 10**9),
        end_time=st.integers(0, 4 * 10**9),
        results=st.lists(rows(kind), max_size=3).map(tuple),
        other_results=st.just(()) if kind is UnknownResult else st.just(()) | other_results,
        start_time_iso=st.none() | texts,
        extra=extras,
    )


def pages(kind: Any) -> st.SearchStrategy[Any]:
    """Pages of one kind."""
    return st.builds(
        UsageResponse[kind],
        data=st.lists(buckets(kind), max_size=3).map(tuple),
        has_more=st.booleans(),
        next_page=st.none() | texts,
        extra=extras,
    )


instants = st.datetimes(
    min_value=datetime.fromisoformat("0001-01-02"),
    max_value=datetime.fromisoformat("9999-12-30"),
    timezones=st.just(UTC)
    | st.builds(timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23))),
)


KINDS = [ENDPOINTS[name].result_class for name in NAMES] + [UnknownResult]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
every_page = pytest.mark.parametrize(("name", "endpoint"), PAGES.items(), ids=PAGES)

PUBLIC: list[Any] = [
    *KINDS,
    *(UsageTimeBucket[CostsResult], UsageTimeBucket[UnknownResult], UsageResponse[CostsResult]),
    *(Summary[CostsResult], Summary[UsageImagesResult]),
    *(CacheEvent, CacheStats),
    *(UsageRow, CostsResultAmount, DerivedLineItem, Extra, Notice, RequestEvent, TimeRange),
    Verification,
    *(Names, Project, User, ApiKey, ApiKeyOwner),
]
"""The public classes of values; generic ones with a result class."""


def name_of(cls: Any) -> str:
    """The test id of a public class."""
    return "_of_".join(of.__name__ for of in (get_origin(cls) or cls, *get_args(cls)))


def any_of(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a public class, or of the type of one of its fields."""
    origin, of = get_origin(hint) or hint, get_args(hint)
    special = {
        int: lambda: counts,
        float: lambda: finite,
        bool: st.booleans,
        str: lambda: texts,
        Decimal: lambda: amounts,
        datetime: lambda: instants,
        NoneType: st.none,
        Literal: lambda: st.sampled_from(of),
        UnionType: lambda: st.one_of(map(any_of, of)),
        tuple: lambda: st.lists(any_of(of[0]), max_size=2).map(tuple),
        Extra: lambda: extras_named(st.text(max_size=4)),
        CostsResultAmount: lambda: money,
        ById: lambda: st.lists(any_of(of[0]), max_size=3).map(ById),
        UsageTimeBucket: lambda: buckets(*of),
        UsageResponse: lambda: pages(*of),
    }
    if origin in special:
        return special[origin]()
    if issubclass(origin, UsageResult):
        return rows(origin)
    bound = dict(zip(getattr(origin, "__parameters__", ()), of, strict=True))
    hints = {name: _bind(field, bound) for name, field in get_type_hints(origin).items()}
    fields = {a.name: any_of(hints[a.name]) for a in attrs.fields(origin)}
    if origin is UsageRow:
        fields["extra"] = extras_named(st.sampled_from([a.name for a in attrs.fields(UsageRow)]))
    elif "extra" in fields:
        fields["extra"] = extras
    return st.builds(hint, **fields)


def _bind(hint: Any, bound: dict[Any, Any]) -> Any:
    if hint in bound:
        return bound[hint]
    return hint[tuple(bound.values())] if getattr(hint, "__parameters__", ()) else hint
