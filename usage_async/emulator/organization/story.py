"""Story of a made-up organization: what happens in it month after month. Pure.

Three events recur, so that two months in a row differ by them:

- *A price change.* On the 12th of every second month the price of images of `gpt-image-1` changes:
  in February, June and October it rises by half, in April, August and December it falls back. Two
  months in a row see one change of it.
- *A runaway key.* From the 16th to the 18th of every month one API key of `RUNAWAYS` sends twenty
  times as many requests to its models as usual; the next month it is the next key.
- *A migration.* The API key `assistant` always uses the newest snapshot of `gpt-5.2-nano`. Each
  month has a snapshot of its own, named after its first day, and none but that.

`usage-async explain --demo` tells all three of October 2026. It does not tell them of every month:
a runaway key that is small, or that runs on a quiet weekend, may not be unusual, and only the
largest changes of a bill become sentences.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, date, datetime

from usage_async._api.interval import DAY_S

DEARER_LINE_ITEM = "gpt-image-1, images"
"""Line item whose price changes."""
_DEARER_PERCENT = 150
_PRICE_DAY = 12
_PRICE_MONTHS = 2

RUNAWAYS = ("experiments", "indexer", "notebooks", "backfill", "query service", "staging")
"""Names of API keys that run away, one a month, from January on and from July on."""
RUNAWAY_ENDPOINT = "completions"
_RUNAWAY_FACTOR = 20
_RUNAWAY_DAYS = range(16, 19)

MIGRANT = "assistant"
"""Name of the API key that moves to another snapshot each month."""
MIGRANT_MODEL = "gpt-5.2-nano"
_FIRST_YEAR = 2025
_YEARS = 12


def price_percent(line_item: str, day: int) -> int:
    """Give the price of a line item on a day since the epoch, in percent of its ordinary price."""
    if line_item != DEARER_LINE_ITEM:
        return 100
    on = _date(day)
    # Changes are counted from that of February on; the first one raises the price.
    months = on.year * 12 + on.month - 1 - (on.day < _PRICE_DAY)
    changes = (months + 1) // _PRICE_MONTHS
    return _DEARER_PERCENT if changes % 2 else 100


def runaway_factor(key_name: str, day: int) -> int:
    """Give the factor of the requests of an API key on a day since the epoch; usually 1."""
    on = _date(day)
    runs = RUNAWAYS[(on.month - 1) % len(RUNAWAYS)] == key_name
    return _RUNAWAY_FACTOR if runs and on.day in _RUNAWAY_DAYS else 1


def snapshots() -> Iterator[tuple[str, int, int]]:
    """Yield each snapshot of the migrating model, and its first and last day since the epoch."""
    firsts = [
        date(_FIRST_YEAR + number // 12, number % 12 + 1, 1) for number in range(_YEARS * 12 + 1)
    ]
    for first, following in itertools.pairwise(firsts):
        yield f"{MIGRANT_MODEL}-{first}", _day(first), _day(following) - 1


def _date(day: int) -> date:
    return datetime.fromtimestamp(day * DAY_S, UTC).date()


def _day(first: date) -> int:
    return int(datetime(first.year, first.month, first.day, tzinfo=UTC).timestamp()) // DAY_S
