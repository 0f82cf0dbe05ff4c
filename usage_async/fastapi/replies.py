"""Replies that equal questions share: text that is read and written once, with its tag.

Writing a large reply takes longer than sending it. Therefore the cache holds the text, beside the
values that handlers ask for, and within the same bound of bytes. A text stays in the parts in which
it was written: joining or sending many megabytes at once would stall the event loop, and each
browser would have a copy of them to be sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from datetime import timedelta
from secrets import token_hex
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import urlencode

import attrs
from starlette.responses import Response
from starlette.types import Receive, Send
from starlette.types import Scope as ASGIScope

from usage_async._api.endpoints import WIDTH_SECONDS
from usage_async._client.client import UsageClient
from usage_async._client.query import UsageQuery
from usage_async._codec.converter import to_dict
from usage_async._query.times import TimeRange, iso
from usage_async.errors import QueryError
from usage_async.fastapi.parameters import ReportParameters
from usage_async.fastapi.writing import buckets_as_json, summary_as_json
from usage_async.report.compute import compute_report
from usage_async.report.html.form import Question, form_of
from usage_async.report.json import report_as_json
from usage_async.report.reading import OUT_OF_SCOPE, buckets_of, let_go, read_sections
from usage_async.report.reports import now_of
from usage_async.report.spec import By, ReportSpec, day_end, read_by, report_spec
from usage_async.report.values import Report, Sections, View
from usage_async.report.worker import in_worker

T = TypeVar("T")

JSON = "application/json"
HTML = "text/html"
TOP = 50
"""The most groups of a table of a page; the others become one line."""
MAX_BUCKETS = 10_000
"""Buckets of a reply in JSON, which is held in memory; streams have no such bound."""
_PART = 1 << 16
"""Bytes of a part at least, except for the last."""


@attrs.frozen
class Written:
    """A reply.

    Attributes:
        parts: Its text.
        tag: Its entity tag, random. A digest of the body would tell a tenant whether the figures of
            another one are equal. Another reading has another tag in any case, since
            the body tells as of when its figures are.
        media_type: Its media type.
    """

    parts: tuple[bytes, ...]
    tag: str = attrs.field(factory=lambda: f'"{token_hex(16)}"')
    media_type: str = JSON

    def response(self, headers: Mapping[str, str]) -> Response:
        """Make the response."""
        headers = {**headers, "ETag": self.tag}
        if len(self.parts) == 1:
            return Response(self.parts[0], media_type=self.media_type, headers=headers)
        return _InParts(self.parts, self.media_type, headers)


class _InParts(Response):
    """A response whose parts are sent as the browser takes them."""

    def __init__(self, parts: Sequence[bytes], media_type: str, headers: Mapping[str, str]) -> None:
        self.media_type = media_type
        self.status_code, self.background, self._parts = 200, None, parts
        self.init_headers({**headers, "Content-Length": str(sum(map(len, parts)))})

    async def __call__(self, _scope: ASGIScope, _receive: Receive, send: Send) -> None:
        """Send the response."""
        start = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **start})
        for number, part in enumerate(self._parts, 1):
            more = {"body": part, "more_body": number < len(self._parts)}
            await send({"type": "http.response.body", **more})


async def _written(pieces: AsyncIterator[bytes], media_type: str = JSON) -> Written:
    """Join small pieces to parts."""
    parts: list[bytes] = []
    pending: list[bytes] = []
    size = 0
    async for piece in pieces:
        pending.append(piece)
        size += len(piece)
        if size >= _PART:
            parts.append(b"".join(pending))
            pending.clear()
            size = 0
    parts.append(b"".join(pending))
    return Written(tuple(parts), media_type=media_type)


async def _cut(text: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(text), _PART):
        yield text[start : start + _PART]
        await asyncio.sleep(0)


async def summary_reply(query: UsageQuery[Any]) -> Written:
    """Read a query, and write its summary."""

    async def read(now: int | None) -> tuple[Written, bool]:
        summary, is_settled = await query._summary(query.group_by, now)  # noqa: SLF001 - see Question
        return await _written(summary_as_json(summary)), is_settled

    return await query._answer("summary", query.group_by, read, is_rendered=True)  # noqa: SLF001 - ours


async def buckets_reply(query: UsageQuery[Any], otherwise: str) -> Written:
    """Read a query, and write its buckets.

    Args:
        query: The query.
        otherwise: What to do about too many buckets, beside taking wider ones.

    Raises:
        QueryError: There are too many.
    """

    async def read(now: int | None) -> tuple[Written, bool]:
        async with query._stream(now) as stream:  # noqa: SLF001 - as of the instant of the question
            width_s = WIDTH_SECONDS[query.bucket_width or ""]
            if (count := (stream.end_time - stream.start_time) // width_s) > MAX_BUCKETS:
                raise QueryError(
                    f"bucket_width {query.bucket_width} makes {count} buckets of this range; JSON"
                    f" has at most {MAX_BUCKETS}: take wider ones, or {otherwise}"
                )
            buckets = [bucket async for bucket in stream]
        covered = TimeRange(buckets[0].start_time, buckets[-1].end_time) if buckets else None
        about = {
            "requested": to_dict(stream.requested),
            "covered": to_dict(covered),
            "as_of": iso(stream.as_of),
            "buckets": [],
            "notices": [to_dict(notice) for notice in stream.notices],
        }
        return query._made(await _written(buckets_as_json(buckets, about)), stream)  # noqa: SLF001 - ours

    return await query._answer("collect", (), read, is_rendered=True)  # noqa: SLF001 - ours


async def report_reply(client: UsageClient, parameters: ReportParameters) -> Written:
    """Read a report, and write it."""

    async def read(spec: ReportSpec) -> Made[Written]:
        report = await _report(client, spec)
        text = await in_worker(report_as_json, report, View())
        return Made(report, await _written(_cut(text)))

    by, period, compare = parameters.by, parameters.period, parameters.compare
    return await cached_report(client, read, by=by, period=period, compare=compare)


async def page_reply(
    client: UsageClient, question: Question, *, without: Collection[By]
) -> Written:
    """Read a report, and write its page.

    Args:
        client: The client.
        question: The question.
        without: Dimensions that whoever asks may not group by.
    """
    from usage_async.report.html.charts import PATIENCE_S, charts_of, draw_served
    from usage_async.report.html.page import report_page

    form = form_of(question, without=without, json=_as_json(question))

    async def read(spec: ReportSpec) -> Made[Written]:
        report = await _report(client, spec)
        drawn = await in_worker(charts_of, report)
        drawings = await draw_served(drawn, patience_s=PATIENCE_S)
        view = View(top=TOP)
        page = await in_worker(report_page, report, view, drawings.without_words(), form)
        made = await _written(_cut(page), HTML)
        return Made(report, made, is_whole=not drawings.failure)

    by, period = question.by, question.period
    # The page shows the period as it was written.
    form_of_cache = f"page {period}"
    return await cached_report(
        client, read, by=by, period=period, compare=True, detailed=True, form=form_of_cache
    )


def _as_json(question: Question) -> str:
    """Give the place of the same figures as JSON."""
    by, period = question.by, question.period
    return f"report.json?{urlencode({'by': by, 'period': period, 'compare': 'true'})}"


async def _report(client: UsageClient, spec: ReportSpec) -> Report:
    sections = _without_words(await read_sections(client, spec))
    buckets = buckets_of(sections)
    report = await in_worker(compute_report, spec, sections)
    del sections
    await let_go(buckets)
    return report


@attrs.frozen
class Made(Generic[T]):
    """A report in the form of a reply.

    Attributes:
        report: The report.
        value: What is made of it.
        is_whole: False if it lacks what another try may bring.
    """

    report: Report
    value: T
    is_whole: bool = attrs.field(default=True, kw_only=True)


async def cached_report(
    client: UsageClient,
    read: Callable[[ReportSpec], Awaitable[Made[T]]],
    *,
    by: str,
    period: str,
    compare: bool,
    detailed: bool = False,
    form: str = "json",
) -> T:
    """Read a report, or give what the cache of the client has of it.

    Args:
        client: The client.
        read: Reads a report, and gives it with what is made of it.
        by: Dimension to split it by, or two.
        period: As `period=` of a query.
        compare: True to compare with the period before.
        detailed: True to read what only a page shows.
        form: Name of what is made of it.
    """

    async def answer(now: int | None) -> tuple[T, bool]:
        at = now_of(client) if now is None else now
        spec = report_spec(at, by=by, period=period, compare=compare, detailed=detailed)
        made = await read(spec)
        reasons = made.report.explanation
        is_whole = made.is_whole and (reasons is None or reasons.is_whole)
        return made.value, is_whole and is_settled(made.report, client)

    # All queries of a report are of the same days, so that one of them stands for the question.
    costs = client.costs(period=period)
    arguments = (form, *read_by(by), *(["compare"] if compare else []))
    return await costs._answer("report", arguments, answer, is_rendered=True)  # noqa: SLF001 - ours


class Limited(Protocol):
    """Figures of a period, of which some may be missing."""

    @property
    def spec(self) -> ReportSpec:
        """The period."""
        ...

    @property
    def blanks(self) -> tuple[object, ...]:
        """Sections that could not be read."""
        ...

    @property
    def gaps(self) -> tuple[object, ...]:
        """Days that did not come."""
        ...


def is_settled(found: Limited, client: UsageClient) -> bool:
    """Tell if another reading would give the same figures."""
    spec, after = found.spec, client._engine.settle_after  # noqa: SLF001 - as the cache settles
    end = max(each.end_time for each in (spec.period, spec.before or spec.period))
    is_old = day_end(end) <= spec.now - after // timedelta(seconds=1)
    return is_old and not found.blanks and not found.gaps


async def written_text(text: bytes) -> Written:
    """Make a reply of JSON."""
    return await _written(_cut(text))


def _without_words(sections: Sections) -> Sections:
    """Replace the service's reasons for sections without figures by words of our own."""

    def told(section: Any) -> Any:
        if isinstance(section, dict):
            return {name: told(each) for name, each in section.items()}
        if isinstance(section, tuple):
            return tuple(map(told, section))
        if section is None or section.blank in {None, OUT_OF_SCOPE}:
            return section
        reason = f"the usage service {section.blank.verdict} this"
        return attrs.evolve(section, blank=attrs.evolve(section.blank, reason=reason))

    fields = {a.name: told(getattr(sections, a.name)) for a in attrs.fields(Sections)}
    return Sections(**fields)
