"""The story of the organization: events that any two months in a row show."""

from datetime import UTC, date, datetime
from itertools import pairwise

import pytest

from usage_async.emulator.organization import catalog, story


def day(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) // 86400


@pytest.mark.parametrize(
    ("text", "percent"),
    [
        ("2026-02-11", 100),
        ("2026-02-12", 150),
        ("2026-03-31", 150),
        ("2026-04-11", 150),
        ("2026-04-12", 100),
        ("2026-06-12", 150),
        ("2026-10-11", 100),
        ("2026-10-12", 150),
        ("2026-12-12", 100),
        ("2027-01-15", 100),
        ("2027-02-12", 150),
    ],
)
def test_the_price_of_images_changes_every_second_month(text: str, percent: int) -> None:
    assert story.price_percent(story.DEARER_LINE_ITEM, day(text)) == percent
    assert story.price_percent("dall-e-3, images", day(text)) == 100


@pytest.mark.parametrize("month", range(1, 13))
def test_two_months_in_a_row_see_one_change_of_the_price(month: int) -> None:
    first = day(f"2026-{month:02}-01")
    days = range(first, first + 59)
    prices = [story.price_percent(story.DEARER_LINE_ITEM, each) for each in days]
    assert sum(one != other for one, other in pairwise(prices)) == 1


def test_one_key_a_month_runs_away_for_three_days() -> None:
    keys = {name for _, _, name in catalog.KEYS}
    assert set(story.RUNAWAYS) <= keys
    for first in (f"2026-{month:02}-01" for month in range(1, 13)):
        runs = [
            (name, number)
            for number in range(day(first), day(first) + 28)
            for name in keys
            if story.runaway_factor(name, number) > 1
        ]
        assert len({name for name, _ in runs}) == 1
        assert [number - day(first) for _, number in runs] == [15, 16, 17]
    november, december = (
        next(name for name in keys if story.runaway_factor(name, day(text)) > 1)
        for text in ("2026-11-16", "2026-12-16")
    )
    assert november != december


def test_a_snapshot_lasts_for_its_month() -> None:
    found = list(story.snapshots())
    assert found[0] == ("gpt-5.2-nano-2025-01-01", day("2025-01-01"), day("2025-01-31"))
    assert found[21][0] == "gpt-5.2-nano-2026-10-01"
    assert all(last + 1 == first for (_, _, last), (_, first, _) in pairwise(found))
    assert date(1970, 1, 1).toordinal() + found[-1][2] == date(2036, 12, 31).toordinal()
