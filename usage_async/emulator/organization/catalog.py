"""Parts of a made-up organization: people, projects, models and prices.

Metrics are built from *parts*, the finest counters, such as `input_text_tokens`. `SUMS` defines
each field that is a sum of parts, so the fields of a row never contradict each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Context, Decimal, Inexact

import attrs

_INPUT = ("input_text_tokens", "input_audio_tokens", "input_image_tokens")
_CACHED = ("input_cached_text_tokens", "input_cached_audio_tokens", "input_cached_image_tokens")
_WRITTEN = ("input_cache_write_30m_tokens", "input_cache_write_12h_tokens")

SUMS: Mapping[str, tuple[str, ...]] = {
    "input_uncached_tokens": _INPUT,
    "input_cached_tokens": _CACHED,
    "input_cache_write_tokens": _WRITTEN,
    "input_tokens": _INPUT + _CACHED + _WRITTEN,
    "output_tokens": ("output_text_tokens", "output_audio_tokens", "output_image_tokens"),
}
"""The fields that are sums, each with its parts."""

COUNTS = ("num_model_requests", "num_requests", "num_sessions")
"""Fields that count events. The first one that a result has is its number of events."""

BILLED_AS: Mapping[str, tuple[str, str]] = {
    "input_text_tokens": ("input", "tokens"),
    "input_cached_text_tokens": ("cached input", "tokens"),
    "input_cache_write_30m_tokens": ("cache write", "tokens"),
    "input_cache_write_12h_tokens": ("cache write 12h", "tokens"),
    "output_text_tokens": ("output", "tokens"),
    "input_audio_tokens": ("audio input", "tokens"),
    "input_cached_audio_tokens": ("cached audio input", "tokens"),
    "output_audio_tokens": ("audio output", "tokens"),
    "input_image_tokens": ("image input", "tokens"),
    "input_cached_image_tokens": ("cached image input", "tokens"),
    "output_image_tokens": ("image output", "tokens"),
    "images": ("images", "images"),
    "characters": ("characters", "characters"),
    "seconds": ("duration", "duration_seconds"),
}
"""Each billed part of a model: its direction in the line item, and its unit."""


@attrs.frozen
class Price:
    """Price of one line item of an endpoint that has no models.

    Attributes:
        line_item: Name on the bill.
        part: The part that is billed.
        unit: The `quantity_unit` on the bill.
        dollars: Dollars for one unit, exact.
        units: Units for one of the part.
    """

    line_item: str
    part: str
    unit: str
    dollars: Decimal
    units: Decimal = Decimal(1)


@attrs.frozen
class Model:
    """A model: consumption and prices.

    Attributes:
        per_thousand: Amount of each part in a thousand requests.
        dollars: Dollars per million of each part; a part without a price is not billed.
        line_item: The model's name on the bill; None: the same name.
    """

    per_thousand: Mapping[str, int]
    dollars: Mapping[str, str]
    line_item: str | None = None


def _text(
    tokens: tuple[int, int, int, int],
    prices: tuple[str, str, str, str],
    line_item: str | None = None,
) -> Model:
    parts: tuple[str, ...] = (
        "input_text_tokens",
        "input_cached_text_tokens",
        "input_cache_write_30m_tokens",
        "output_text_tokens",
    )
    amounts = {part: 1000 * count for part, count in zip(parts, tokens, strict=True)}
    dollars: dict[str, str] = dict(zip(parts, prices, strict=True))
    if not tokens[2]:
        del dollars[parts[2]]
    return Model(amounts, dollars, line_item)


_FRONTIER = _text((1450, 900, 160, 420), ("1.75", "0.175", "2.1875", "14"))
_MINI = _text((980, 420, 0, 260), ("0.25", "0.025", "0.3125", "2"))
_OLD_MINI = _text((760, 0, 0, 190), ("0.15", "0.075", "0.15", "0.60"))
_REASONING = _text((2100, 300, 90, 1900), ("1.10", "0.275", "1.10", "4.40"))
_CHAT = _text((640, 210, 0, 310), ("1.25", "0.125", "1.25", "10"), "chat-latest ")
MIGRANT = _text((900, 310, 0, 240), ("0.60", "0.06", "0.75", "4.80"))
"""The model of which one API key always uses the newest snapshot."""
MIGRANT_REQUESTS = 1500
"""Requests of that model on an ordinary day, before growth."""
_SEES = Model(
    {
        **_FRONTIER.per_thousand,
        "input_image_tokens": 510_000,
        "input_cache_write_12h_tokens": 70_000,
    },
    {
        **_FRONTIER.dollars,
        "input_image_tokens": "1.75",
        "input_cache_write_12h_tokens": "3.5",
    },
)
_AUDIO = Model(
    {
        "input_text_tokens": 180_000,
        "output_text_tokens": 140_000,
        "input_audio_tokens": 620_000,
        "input_cached_audio_tokens": 110_000,
        "output_audio_tokens": 480_000,
    },
    {
        "input_text_tokens": "2.50",
        "output_text_tokens": "10",
        "input_audio_tokens": "32",
        "input_cached_audio_tokens": "0.40",
        "output_audio_tokens": "64",
    },
)


@attrs.frozen
class Profile:
    """Usage profile of an endpoint.

    Attributes:
        models: Models by name; empty for an endpoint without models.
        requests: Requests of one leaf on an ordinary day, before growth.
        share: Percent of the API keys that use any one model.
        workdays: Percent of the working days on which a leaf has usage.
        per_thousand: Amount of each part in a thousand requests, whatever the model.
        prices: Line items in addition to those of the models.
        stored: The endpoint stores something for projects; otherwise it answers requests of keys.
    """

    models: Mapping[str, Model]
    requests: int
    share: int
    workdays: int = 92
    per_thousand: Mapping[str, int] = {}
    prices: tuple[Price, ...] = ()
    stored: bool = False


def _embedding(dollars: str) -> Model:
    return Model({"input_text_tokens": 320_000}, {"input_text_tokens": dollars})


UNPRICED = Model({}, {})
"""Model without consumption and prices of its own, also that of an endpoint without models."""

EXACT = Context(prec=60, traps=[Inexact])
"""Context of prices and charges. The context of the thread that imports this file might round."""

_GIBIBYTE_HOURS_OF_A_BYTE_DAY = EXACT.divide(Decimal(24), Decimal(2**30))

PROFILES: Mapping[str, Profile] = {
    "completions": Profile(
        {
            "gpt-5.2": _FRONTIER,
            "gpt-5.2-mini": _MINI,
            "gpt-5.2-vision": _SEES,
            "gpt-4o-mini-2024-07-18": _OLD_MINI,
            "o4-mini-2025-04-16": _REASONING,
            "chat-latest": _CHAT,
            "gpt-audio": _AUDIO,
        },
        requests=90,
        share=24,
    ),
    "decisions": Profile({"gpt-5.2": _FRONTIER, "gpt-5.2-mini": _MINI}, 40, 22, 70),
    "embeddings": Profile(
        {
            "text-embedding-3-small": _embedding("0.02"),
            "text-embedding-3-large": _embedding("0.13"),
        },
        requests=260,
        share=30,
    ),
    "moderations": Profile({"omni-moderation-latest": _embedding("0")}, 180, 55),
    "images": Profile(
        {
            "gpt-image-1": Model({"images": 1600}, {"images": "42000"}),
            "dall-e-3": Model({"images": 1000}, {"images": "40000"}),
        },
        requests=14,
        share=30,
        workdays=75,
    ),
    "audio_speeches": Profile(
        {
            "tts-1": Model({"characters": 420_000}, {"characters": "15"}),
            "gpt-4o-mini-tts": Model({"characters": 610_000}, {"characters": "12"}),
        },
        requests=30,
        share=25,
    ),
    "audio_transcriptions": Profile(
        {
            "whisper-1": Model({"seconds": 95_000}, {"seconds": "100"}),
            "gpt-4o-transcribe": Model({"seconds": 140_000}, {"seconds": "100"}),
        },
        requests=22,
        share=25,
    ),
    "vector_stores": Profile(
        {},
        requests=0,
        share=100,
        workdays=100,
        prices=(
            Price(
                "file search storage",
                "usage_bytes",
                "gibibyte_hours",
                Decimal("0.0042"),
                _GIBIBYTE_HOURS_OF_A_BYTE_DAY,
            ),
        ),
        stored=True,
    ),
    "code_interpreter_sessions": Profile(
        {},
        requests=9,
        share=55,
        workdays=80,
        prices=(Price("code interpreter sessions", "num_sessions", "sessions", Decimal("0.03")),),
    ),
    "file_search_calls": Profile(
        {},
        requests=60,
        share=60,
        prices=(Price("file search tool calls", "num_requests", "calls", Decimal("0.0025")),),
    ),
    "web_search_calls": Profile(
        {"gpt-5.2": UNPRICED, "gpt-5.2-mini": UNPRICED, "o4-mini-2025-04-16": UNPRICED},
        requests=45,
        share=25,
        per_thousand={"num_requests": 1400},
        prices=(Price("web search tool calls", "num_requests", "calls", Decimal("0.01")),),
    ),
}
"""Usage profile of each endpoint, by name."""

UNLISTED_PROFILE = Profile({"model-a": UNPRICED, "model-b": UNPRICED}, requests=25, share=60)
"""Usage profile of an endpoint that is newer than this catalog."""
UNLISTED_PER_THOUSAND = 3000
"""Amount of an unlisted metric in a thousand requests."""

TIER_PERCENT: Mapping[str, int] = {"default": 100, "flex": 50, "priority": 200}
"""Price of a service tier in percent. A batch job pays half."""

VALUES: Mapping[str, tuple[str, ...]] = {
    "service_tier": ("default", "default", "flex", "priority"),
    "api_source": ("unlabeled", "agents_api"),
    "size": ("1024x1024", "512x512", "1792x1024"),
    "source": ("image.generation", "image.edit", "image.variation"),
    "context_level": ("medium", "low", "high"),
}
"""Values of dimensions for which the endpoint table lists none, the usual value first."""

PROJECTS = ("Web app", "Search", "Support assistant", "Data pipeline", "Research", "Prototype 2025")
"""Names of the projects. The last one is archived."""

SPEND_LIMIT = 700_000
"""Spend limit of the organization, in cents a month."""

PROJECT_SPEND_LIMITS: Mapping[str, int] = {"Support assistant": 220_000, "Research": 60_000}
"""Spend limits of projects, in cents a month; the others have none."""

PEOPLE = ("Ada", "Grace", "Edsger", "Barbara", "Donald", "Radia", "Alan", "Katherine")

SERVICE_ACCOUNTS = ("Nightly",)
"""Owners of API keys that are no people."""

KEYS = (
    ("Web app", "Ada", "production"),
    ("Web app", "Grace", "staging"),
    ("Search", "Edsger", "indexer"),
    ("Search", "Barbara", "query service"),
    ("Support assistant", "Donald", "assistant"),
    ("Support assistant", "Radia", "evaluation"),
    ("Data pipeline", "Nightly", "nightly batches"),
    ("Data pipeline", "Radia", "backfill"),
    ("Research", "Katherine", "notebooks"),
    ("Research", "Ada", "experiments"),
    ("Prototype 2025", "Grace", "demo"),
    ("Web app", "Alan", "deleted key"),
)
"""API keys: project, owner, name. The last one is deleted: it was used, but is not listed."""
