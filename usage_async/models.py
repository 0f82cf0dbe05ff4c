"""The values that the API returns: pages, buckets, the twelve kinds of result, and flat rows.

All are frozen, slotted, keyword-only, hashable and picklable. What a field means, its unit and how
it adds up stand once, in `FIELDS`; every class that has the field gets them as attrs metadata and
in its docstring. Times are Unix seconds, UTC.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Generic, Literal, TypeVar, dataclass_transform

import attrs
from attrs import field

Kind = Literal["flow", "level", "money", "quantity", "dimension", "note"]


@attrs.frozen
class FieldInfo:
    """What one field of a result means.

    Attributes:
        kind: `flow` adds over time and over groups; `level` adds over groups within one bucket,
            never over time; `money` adds within one currency; `quantity` adds within one
            `quantity_unit`; `dimension` can be grouped by; `note` describes.
        unit: The unit of a number, empty for text.
        doc: One line.
    """

    kind: Kind
    unit: str
    doc: str


def _tokens(doc: str) -> FieldInfo:
    return FieldInfo("flow", "tokens", doc)


def _dimension(doc: str) -> FieldInfo:
    return FieldInfo("dimension", "", doc)


def _note(doc: str) -> FieldInfo:
    return FieldInfo("note", "", doc)


FIELDS: Mapping[str, FieldInfo] = {
    "start_time": FieldInfo("note", "Unix seconds", "Start of the bucket, inclusive."),
    "end_time": FieldInfo("note", "Unix seconds", "End of the bucket, exclusive."),
    "object": _note("The API's name for this kind of value."),
    "input_tokens": _tokens("Input tokens, cached and cache-writing ones included."),
    "input_uncached_tokens": _tokens("Input tokens that were neither cached nor written."),
    "input_cached_tokens": _tokens("Input tokens read from the prompt cache."),
    "input_cache_write_tokens": _tokens("Input tokens written to the prompt cache."),
    "input_cache_write_30m_tokens": _tokens("Input tokens written to the cache for 30 minutes."),
    "input_cache_write_12h_tokens": _tokens("Input tokens written to the cache for 12 hours."),
    "input_text_tokens": _tokens("Uncached text input tokens."),
    "input_audio_tokens": _tokens("Uncached audio input tokens."),
    "input_image_tokens": _tokens("Uncached image input tokens."),
    "input_cached_text_tokens": _tokens("Text input tokens read from the cache."),
    "input_cached_audio_tokens": _tokens("Audio input tokens read from the cache."),
    "input_cached_image_tokens": _tokens("Image input tokens read from the cache."),
    "output_tokens": _tokens("Output tokens, of every modality."),
    "output_text_tokens": _tokens("Text output tokens."),
    "output_audio_tokens": _tokens("Audio output tokens."),
    "output_image_tokens": _tokens("Image output tokens."),
    "num_model_requests": FieldInfo("flow", "requests", "Requests made to the model."),
    "num_requests": FieldInfo("flow", "calls", "Calls of the tool."),
    "num_sessions": FieldInfo("flow", "sessions", "Code interpreter sessions."),
    "images": FieldInfo("flow", "images", "Images processed."),
    "characters": FieldInfo("flow", "characters", "Characters spoken."),
    "seconds": FieldInfo("flow", "seconds", "Seconds of audio transcribed."),
    "usage_bytes": FieldInfo("level", "bytes", "Bytes stored; a level, not a flow."),
    "amount": FieldInfo("money", "currency units", "Money, in whole units of its currency."),
    "currency": _note("Lowercase ISO 4217 code of the amount, such as `usd`."),
    "quantity": FieldInfo("quantity", "quantity_unit", "How much was billed, in `quantity_unit`."),
    "quantity_unit": _note("What `quantity` counts, such as `tokens` or `gibibyte_hours`."),
    "project_id": _dimension("Project; None unless grouped by it."),
    "user_id": _dimension("User; None unless grouped by it."),
    "api_key_id": _dimension("API key; None unless grouped by it."),
    "model": _dimension("Model; None unless grouped by it."),
    "batch": _dimension("Whether the requests were batch jobs; None unless grouped by it."),
    "service_tier": _dimension("Service tier; None unless grouped by it."),
    "api_source": _dimension("API that made the requests; None unless grouped by it."),
    "size": _dimension("Image size, such as `1024x1024`; None unless grouped by it."),
    "source": _dimension("Kind of image request; None unless grouped by it."),
    "vector_store_id": _dimension("Vector store; None unless grouped by it."),
    "context_level": _dimension("Search context size; None unless grouped by it."),
    "line_item": _dimension("What was billed, as sent; None unless grouped by it."),
    "organization_id": _note("Organization; sent, but not documented by the API."),
    "organization_name": _note("Organization's name; sent, but not documented by the API."),
    "project_name": _note("Project's name; sent, but not documented by the API."),
    "user_email": _note("User's address; sent, but not documented by the API."),
    "extra": _note("Fields of the reply that this release does not know, by name."),
}
"""Every field of every result and of `UsageRow`, in the order in which they are shown."""


class Extra(Mapping[str, Any]):
    """An immutable, hashable mapping of JSON values: lists are tuples, objects are `Extra`."""

    __slots__ = ("_values",)
    _values: dict[str, Any]

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self._values = {key: _freeze(value) for key, value in (values or {}).items()}

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(frozenset(self._values.items()))

    def __repr__(self) -> str:
        return f"Extra({self._values!r})" if self._values else "Extra()"

    def __reduce__(self) -> tuple[type[Extra], tuple[dict[str, Any]]]:
        return Extra, (self._values,)


def _freeze(value: Any) -> Any:
    if isinstance(value, Mapping):
        return value if isinstance(value, Extra) else Extra(value)
    return tuple(map(_freeze, value)) if isinstance(value, list | tuple) else value


NO_EXTRA = Extra()

_MAX_EXPONENT = 308
"""The largest power of ten of an IEEE 754 double, which JSON numbers are expected to fit in."""
_MIN_EXPONENT = -6176
"""The smallest power of ten of an IEEE 754 decimal128; the service sends `0E-6176`."""
_ZERO = Decimal(0)


def exact_decimal(value: Decimal) -> Decimal:
    """Check that a Decimal is a number that a plain JSON decimal can be; zero becomes `0`.

    Raises:
        TypeError: It is not a Decimal (a float is inexact: pass a string or a Decimal).
        ValueError: It is NaN, infinite, 1e309 or more, or below 1e-6176 but not zero.
    """
    if value.__class__ is not Decimal:
        msg = f"expected a Decimal, got {type(value).__name__}"
        raise TypeError(msg)
    if not value:
        return _ZERO
    if value.is_finite() and _MIN_EXPONENT <= value.adjusted() <= _MAX_EXPONENT:
        return value
    msg = f"expected a plain finite decimal, got {str(value)[:40]}"
    raise ValueError(msg)


def _describe(
    cls: type, attributes: list[attrs.Attribute[Any]]
) -> list[attrs.Attribute[Any]]:
    """Order the attributes as `FIELDS` does, with its entries as metadata and documentation."""
    order = list(FIELDS)
    described = [
        a.evolve(metadata=attrs.asdict(FIELDS[a.name]))
        for a in sorted(attributes, key=lambda a: order.index(a.name))
    ]
    lines = (
        f"    {a.name}: {a.metadata['doc']}"
        + (f" Unit: {a.metadata['unit']}." if a.metadata["unit"] else "")
        + (f" A {a.metadata['kind']}." if a.metadata["kind"] in ("flow", "level") else "")
        for a in described
    )
    summary = (cls.__doc__ or "").partition("\n\nAttributes:")[0].rstrip()
    cls.__doc__ = "\n".join([summary, "", "Attributes:", *lines])
    return described


_T = TypeVar("_T")


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def _described(cls: type[_T]) -> type[_T]:
    return attrs.frozen(cls, kw_only=True, weakref_slot=False, field_transformer=_describe)


@_described
class UsageResult:
    """One row of a bucket: the base of every kind of result."""

    object: str
    extra: Extra = NO_EXTRA


@_described
class UnknownResult(UsageResult):
    """A kind of result newer than this library: its fields are in `extra`, floats as Decimal."""


@_described
class _ModelResult(UsageResult):
    num_model_requests: int
    project_id: str | None = None
    user_id: str | None = None
    api_key_id: str | None = None
    model: str | None = None


@_described
class _TokenResult(_ModelResult):
    input_tokens: int
    input_uncached_tokens: int | None = None
    input_cached_tokens: int | None = None
    input_cache_write_tokens: int | None = None
    input_cache_write_30m_tokens: int | None = None
    input_cache_write_12h_tokens: int | None = None
    input_text_tokens: int | None = None
    input_audio_tokens: int | None = None
    input_image_tokens: int | None = None
    input_cached_text_tokens: int | None = None
    input_cached_audio_tokens: int | None = None
    input_cached_image_tokens: int | None = None
    output_tokens: int
    output_text_tokens: int | None = None
    output_audio_tokens: int | None = None
    output_image_tokens: int | None = None
    batch: bool | None = None
    service_tier: str | None = None
    api_source: str | None = None


@_described
class UsageCompletionsResult(_TokenResult):
    """Tokens of chat completions and responses."""

    object: Literal["organization.usage.completions.result"] = (
        "organization.usage.completions.result"
    )


@_described
class UsageDecisionsResult(_TokenResult):
    """Tokens of decisions."""

    object: Literal["organization.usage.decisions.result"] = "organization.usage.decisions.result"


@_described
class UsageEmbeddingsResult(_ModelResult):
    """Tokens that were embedded."""

    object: Literal["organization.usage.embeddings.result"] = (
        "organization.usage.embeddings.result"
    )
    input_tokens: int


@_described
class UsageModerationsResult(_ModelResult):
    """Tokens that were moderated."""

    object: Literal["organization.usage.moderations.result"] = (
        "organization.usage.moderations.result"
    )
    input_tokens: int


@_described
class UsageImagesResult(_ModelResult):
    """Images that were generated, edited or varied."""

    object: Literal["organization.usage.images.result"] = "organization.usage.images.result"
    images: int
    size: str | None = None
    source: str | None = None


@_described
class UsageAudioSpeechesResult(_ModelResult):
    """Characters that were spoken."""

    object: Literal["organization.usage.audio_speeches.result"] = (
        "organization.usage.audio_speeches.result"
    )
    characters: int


@_described
class UsageAudioTranscriptionsResult(_ModelResult):
    """Seconds of audio that were transcribed."""

    object: Literal["organization.usage.audio_transcriptions.result"] = (
        "organization.usage.audio_transcriptions.result"
    )
    seconds: int


@_described
class UsageVectorStoresResult(UsageResult):
    """Bytes that vector stores hold."""

    object: Literal["organization.usage.vector_stores.result"] = (
        "organization.usage.vector_stores.result"
    )
    usage_bytes: int
    project_id: str | None = None


@_described
class UsageCodeInterpreterSessionsResult(UsageResult):
    """Code interpreter sessions."""

    object: Literal["organization.usage.code_interpreter_sessions.result"] = (
        "organization.usage.code_interpreter_sessions.result"
    )
    num_sessions: int
    project_id: str | None = None


@_described
class UsageFileSearchCallsResult(UsageResult):
    """Calls of the file search tool."""

    object: Literal["organization.usage.file_searches.result"] = (
        "organization.usage.file_searches.result"
    )
    num_requests: int
    project_id: str | None = None
    user_id: str | None = None
    api_key_id: str | None = None
    vector_store_id: str | None = None


@_described
class UsageWebSearchCallsResult(_ModelResult):
    """Calls of the web search tool."""

    object: Literal["organization.usage.web_searches.result"] = (
        "organization.usage.web_searches.result"
    )
    num_requests: int
    context_level: str | None = None
    api_source: str | None = None


@attrs.frozen(kw_only=True, weakref_slot=False)
class CostsResultAmount:
    """An exact amount of money.

    Attributes:
        value: Whole units of the currency (dollars, not cents), from the literal text of the reply.
        currency: Lowercase ISO 4217 code, such as `usd`.
    """

    value: Decimal
    currency: str

    def __attrs_post_init__(self) -> None:
        value = exact_decimal(self.value)
        if value is not self.value:
            object.__setattr__(self, "value", value)


@attrs.frozen
class DerivedLineItem:
    """What a line item's text seems to say; derived by a lenient reading, not sent by the API.

    Attributes:
        model: The model, None where the line item is a plain name.
        direction: What of it was billed, such as `input` or `cached input`; None likewise.
    """

    model: str | None
    direction: str | None


@_described
class CostsResult(UsageResult):
    """Money: what a line item of an organization cost."""

    object: Literal["organization.costs.result"] = "organization.costs.result"
    amount: CostsResultAmount | None = None
    quantity: Decimal | None = None
    quantity_unit: str | None = None
    line_item: str | None = None
    project_id: str | None = None
    user_id: str | None = None
    api_key_id: str | None = None
    api_source: str | None = None
    organization_id: str | None = None
    organization_name: str | None = None
    project_name: str | None = None
    user_email: str | None = None

    def __attrs_post_init__(self) -> None:
        if self.quantity is not None:
            quantity = exact_decimal(self.quantity)
            if quantity is not self.quantity:
                object.__setattr__(self, "quantity", quantity)

    @property
    def derived_line_item(self) -> DerivedLineItem:
        """Read `"<model>, <direction>"` out of `line_item`, leniently; a plain name gives Nones."""
        model, comma, direction = (self.line_item or "").rpartition(",")
        model, direction = model.strip(), direction.strip()
        return DerivedLineItem(model, direction) if comma and model else DerivedLineItem(None, None)


@_described
class UsageRow:
    """One result of any kind, flat: its bucket's times, and every metric and dimension there is.

    A metric that the kind of result does not have is None, as is one that the service left out.
    `amount` is the Decimal alone; its currency stands beside it.
    """

    start_time: int
    end_time: int
    object: str
    project_id: str | None = None
    user_id: str | None = None
    api_key_id: str | None = None
    model: str | None = None
    batch: bool | None = None
    service_tier: str | None = None
    api_source: str | None = None
    size: str | None = None
    source: str | None = None
    vector_store_id: str | None = None
    context_level: str | None = None
    line_item: str | None = None
    num_model_requests: int | None = None
    input_tokens: int | None = None
    input_uncached_tokens: int | None = None
    input_cached_tokens: int | None = None
    input_cache_write_tokens: int | None = None
    input_cache_write_30m_tokens: int | None = None
    input_cache_write_12h_tokens: int | None = None
    input_text_tokens: int | None = None
    input_audio_tokens: int | None = None
    input_image_tokens: int | None = None
    input_cached_text_tokens: int | None = None
    input_cached_audio_tokens: int | None = None
    input_cached_image_tokens: int | None = None
    output_tokens: int | None = None
    output_text_tokens: int | None = None
    output_audio_tokens: int | None = None
    output_image_tokens: int | None = None
    num_requests: int | None = None
    num_sessions: int | None = None
    images: int | None = None
    characters: int | None = None
    seconds: int | None = None
    usage_bytes: int | None = None
    amount: Decimal | None = None
    currency: str | None = None
    quantity: Decimal | None = None
    quantity_unit: str | None = None
    organization_id: str | None = None
    organization_name: str | None = None
    project_name: str | None = None
    user_email: str | None = None
    extra: Extra = NO_EXTRA


def _row(result: UsageResult, start_time: int, end_time: int) -> UsageRow:
    values = {name: getattr(result, name) for name in attrs.fields_dict(type(result))}
    amount = values.pop("amount", None)
    if amount is not None:
        values |= {"amount": amount.value, "currency": amount.currency}
    return UsageRow(start_time=start_time, end_time=end_time, **values)


R = TypeVar("R", bound=UsageResult)

SETTLES_AFTER = timedelta(days=3)
"""How long after its end a bucket may still be revised: hours to days were seen."""


@attrs.frozen(kw_only=True)
class UsageTimeBucket(Generic[R]):
    """What was used between two instants.

    Attributes:
        start_time: Unix seconds, inclusive.
        end_time: Unix seconds, exclusive.
        results: The rows of the endpoint's own kind; none in a quiet bucket, which is a figure too.
        other_results: Rows of another or an unknown kind.
        start_time_iso: As sent; not documented by the API, and not believed.
        end_time_iso: As sent; not documented by the API, and not believed.
        extra: Fields of the reply that this release does not know, by name.
    """

    object: Literal["bucket"] = "bucket"
    start_time: int
    end_time: int
    results: tuple[R, ...] = ()
    other_results: tuple[UsageResult, ...] = ()
    start_time_iso: str | None = field(default=None, eq=False, repr=False)
    end_time_iso: str | None = field(default=None, eq=False, repr=False)
    extra: Extra = NO_EXTRA

    @property
    def start(self) -> datetime:
        """The start, inclusive, as an aware UTC datetime."""
        return datetime.fromtimestamp(self.start_time, UTC)

    @property
    def end(self) -> datetime:
        """The end, exclusive, as an aware UTC datetime."""
        return datetime.fromtimestamp(self.end_time, UTC)

    def is_settled(self, now: datetime, *, after: timedelta = SETTLES_AFTER) -> bool:
        """Whether the service is done with revising this bucket.

        Args:
            now: The instant to judge from, aware.
            after: How long after its end a bucket may still change.
        """
        return self.end + after <= now

    def rows(self) -> list[UsageRow]:
        """Give every result of the bucket, of other kinds too, as a flat row."""
        return [
            _row(result, self.start_time, self.end_time)
            for result in (*self.results, *self.other_results)
        ]


@attrs.frozen(kw_only=True)
class UsageResponse(Generic[R]):
    """A page, as the API sends it.

    Attributes:
        data: The buckets, by rising start.
        has_more: Whether the service has more pages.
        next_page: The cursor of the next one.
        extra: Fields of the reply that this release does not know, by name.
    """

    object: Literal["page"] = "page"
    data: tuple[UsageTimeBucket[R], ...]
    has_more: bool
    next_page: str | None = None
    extra: Extra = NO_EXTRA


@attrs.frozen(kw_only=True)
class Notice:
    """Something that a careful reader of the figures should know; nothing was lost.

    Attributes:
        code: What it is about, for programs: `clamped`, `start-aligned`, `missing-bucket`,
            `repeated-bucket`, `bucket-outside-range`, `other-results`, `unknown-field`.
        message: One sentence for a person.
        start_time: Start of the bucket that it is about, Unix seconds, if it is about one.
    """

    code: str
    message: str
    start_time: int | None = None
