"""Costs as FOCUS 1.2, the FinOps open cost and usage specification: the columns of a charge. Pure.

A file has one row for each day, project and line item that was billed, and one for each user, API
key and API source as well if the query groups by them. `write_focus` writes it.

Columns with a value in every row, or wherever the service gives one:

- `BilledCost`, `EffectiveCost`, `ListCost`, `ContractedCost`: the amount as the service gives it,
  negative ones included, with every digit. They are equal, because the API knows neither a list
  price nor a discount.
- `BillingCurrency`: the currency of the amount, ISO 4217. A file may hold several.
- `ChargePeriodStart`, `ChargePeriodEnd`: the day. `BillingPeriodStart`, `BillingPeriodEnd`: its
  calendar month. Both are UTC.
- `BillingAccountId`, `BillingAccountName`: the organization, as rows carry it. A row without it
  gets that of the rows before and beside it, since an admin key reads one organization.
- `SubAccountId`, `SubAccountName`, `SubAccountType`: the project and `Project`.
- `ChargeDescription`: the line item as sent, as in `x_LineItem`.
- `ChargeCategory`: always `Usage`. The API does not tell credits, taxes or adjustments from usage,
  and a sign is no proof of them.
- `ChargeFrequency`: `Usage-Based`. `ServiceCategory`: `AI and Machine Learning`;
  `ServiceSubcategory`: `Generative AI`; `ServiceName`: `OpenAI API`. `ProviderName`,
  `PublisherName`, `InvoiceIssuerName`: `OpenAI`.
- `SkuId`, `SkuPriceId`: the API has no such ids, so they are made of the line item alone, with one
  spelling for those that the service varies. They are equal, and the same in every run, month and
  organization.
- `SkuMeter`: what is metered, derived from the line item: `Input Tokens` of `gpt-5.2, input`. Those
  of the draft on AI billing have its names; others are as sent.
- `SkuPriceDetails`: model and kind of token, derived from the line item, as JSON. Their keys begin
  with `x_`, as FOCUS 1.2 wants it of properties that it does not define.
- `ConsumedQuantity`, `ConsumedUnit`: the quantity and its unit. A quantity without a unit, which
  the service sent in earlier months, or without a line item is left out.
- `PricingQuantity`, `PricingUnit`: the same; tokens are priced by the million.

Columns that are there, and null in every row:

- `ChargeClass`: corrections of earlier billing periods are not marked by the API, which replaces
  figures instead.
- `InvoiceId`: the API names no invoice.

Columns that are left out, because the API gives nothing for them:

- `AvailabilityZone`, `RegionId`, `RegionName`: rows name no place.
- `BillingAccountType`: there is one type of account.
- `CapacityReservationId`, `CapacityReservationStatus`, `CommitmentDiscountCategory`,
  `CommitmentDiscountId`, `CommitmentDiscountName`, `CommitmentDiscountQuantity`,
  `CommitmentDiscountStatus`, `CommitmentDiscountType`, `CommitmentDiscountUnit`: rows name neither
  reservations nor commitments.
- `ListUnitPrice`, `ContractedUnitPrice`, `PricingCategory`: rows name no price.
- `PricingCurrency`, `PricingCurrencyContractedUnitPrice`, `PricingCurrencyEffectiveCost`,
  `PricingCurrencyListUnitPrice`: there is no other currency than that of the bill.
- `ResourceId`, `ResourceName`, `ResourceType`, `Tags`: rows know projects and line items only.

Columns of our own, after all others:

- `x_LineItem`, `x_UserId`, `x_ApiKeyId`, `x_ApiSource`: what the row is grouped by; null where the
  query does not group by it.
- `x_SettledAt`: the instant from which figures of this day are no longer expected to change; null
  if the day may have changed after it was read. Replace such rows by a later file.

Numbers in CSV have all digits. Parquet has `decimal128(38, 18)`, the type of money in the tables of
this library: a 19th decimal place is an error, unless `exact=True` rounds it and adds all digits as
texts, in `x_BilledCostExact`, `x_ConsumedQuantityExact` and `x_PricingQuantityExact`.

A row without an amount is left out, with a notice: FOCUS has no charge without cost and currency.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any

import attrs
import msgspec

from usage_async._api.endpoints import ENDPOINTS
from usage_async._api.exact import EXACT
from usage_async._api.pages import Notice, UsageTimeBucket
from usage_async._api.results import CostsResult, CostsResultAmount
from usage_async._codec.plain_columns import Kind
from usage_async._sums.totals import Totals
from usage_async.errors import QueryError

COSTS = ENDPOINTS["costs"]
_MORE_THAN_A_MONTH = timedelta(days=32)

GROUPING = ("project_id", "line_item")
"""Dimensions that the query has to group by."""
_DIMENSIONS = {
    "line_item": "x_LineItem",
    "user_id": "x_UserId",
    "api_key_id": "x_ApiKeyId",
    "api_source": "x_ApiSource",
}
"""Our own column of each dimension but the project, which has columns of FOCUS."""

COLUMNS: Mapping[str, Kind] = {
    "BilledCost": "decimal",
    "BillingAccountId": "text",
    "BillingAccountName": "text",
    "BillingCurrency": "text",
    "BillingPeriodEnd": "time",
    "BillingPeriodStart": "time",
    "ChargeCategory": "text",
    "ChargeClass": "text",
    "ChargeDescription": "text",
    "ChargeFrequency": "text",
    "ChargePeriodEnd": "time",
    "ChargePeriodStart": "time",
    "ConsumedQuantity": "decimal",
    "ConsumedUnit": "text",
    "ContractedCost": "decimal",
    "EffectiveCost": "decimal",
    "InvoiceId": "text",
    "InvoiceIssuerName": "text",
    "ListCost": "decimal",
    "PricingQuantity": "decimal",
    "PricingUnit": "text",
    "ProviderName": "text",
    "PublisherName": "text",
    "ServiceCategory": "text",
    "ServiceName": "text",
    "ServiceSubcategory": "text",
    "SkuId": "text",
    "SkuMeter": "text",
    "SkuPriceDetails": "text",
    "SkuPriceId": "text",
    "SubAccountId": "text",
    "SubAccountName": "text",
    "SubAccountType": "text",
    "x_LineItem": "text",
    "x_UserId": "text",
    "x_ApiKeyId": "text",
    "x_ApiSource": "text",
    "x_SettledAt": "time",
}
"""The columns of a file, in their order."""

COSTS_COLUMNS = ("BilledCost", "EffectiveCost", "ListCost", "ContractedCost")
"""The columns of the amount."""
_NOTHING: Mapping[str, None] = dict.fromkeys(
    (
        "ChargeDescription",
        "SkuId",
        "SkuPriceId",
        "SkuMeter",
        "SkuPriceDetails",
        "ConsumedQuantity",
        "ConsumedUnit",
        "PricingQuantity",
        "PricingUnit",
    )
)
_SAME: Mapping[str, str | None] = {
    "ChargeCategory": "Usage",
    "ChargeClass": None,
    "ChargeFrequency": "Usage-Based",
    "InvoiceId": None,
    "InvoiceIssuerName": "OpenAI",
    "ProviderName": "OpenAI",
    "PublisherName": "OpenAI",
    "ServiceCategory": "AI and Machine Learning",
    "ServiceName": "OpenAI API",
    "ServiceSubcategory": "Generative AI",
}
"""Values that every row has."""


@attrs.frozen
class _Unit:
    """A unit in the words of FOCUS.

    Attributes:
        consumed: Name of the unit.
        priced: Name of the unit of prices.
        factor: The number of units of prices in one unit.
    """

    consumed: str
    priced: str
    factor: Decimal = Decimal(1)


_MILLION_TOKENS = "1000000 Tokens"
_UNITS = {
    "tokens": _Unit("Tokens", _MILLION_TOKENS, Decimal("0.000001")),
    "1000_tokens": _Unit("1000 Tokens", _MILLION_TOKENS, Decimal("0.001")),
    "duration_seconds": _Unit("Seconds", "Seconds"),
    "duration_minutes": _Unit("Minutes", "Minutes"),
    "duration_hours": _Unit("Hours", "Hours"),
    "gibibyte_hours": _Unit("GiB-Hours", "GiB-Hours"),
    "images": _Unit("Images", "Images"),
    "characters": _Unit("Characters", "Characters"),
}
"""The documented values of `quantity_unit`; any other is its own name."""
_OF_TOKENS = (None, "tokens", "1000_tokens")
"""Units under which the directions of `_METERS` count tokens. Earlier months have no unit."""

_METERS = {
    "input": ("Input Tokens", "Input"),
    "output": ("Output Tokens", "Output"),
    "cached input": ("Cache Read Input Tokens", "CacheRead"),
    "cache write": ("Cache Write Input Tokens", "CacheWrite"),
    "cache write 30m": ("Cache Write Input Tokens", "CacheWrite"),
    "cache write 12h": ("Cache Write Input Tokens", "CacheWrite"),
}
"""Names of the draft of FOCUS 1.5 for directions of line items: of the meter, of the token."""

_LIKELY_SKUS = 1 << 12


@attrs.frozen
class _Sku:
    """Columns that follow from the line item and the unit of the quantity."""

    identity: str
    meter: str
    details: str | None = None


@lru_cache(_LIKELY_SKUS)
def _sku(line_item: str, unit: str | None) -> _Sku:
    derived = CostsResult(line_item=line_item).derived_line_item
    if not derived.model or not derived.direction:
        return _Sku(line_item.strip(), line_item.strip())
    # `input_tokens` is a spelling of `input`.
    direction = derived.direction.replace("_", " ").removesuffix(" tokens")
    of_tokens = _METERS.get(direction) if unit in _OF_TOKENS else None
    meter, token = of_tokens or (derived.direction, None)
    details = {"x_ModelId": derived.model} | ({"x_TokenType": token} if token else {})
    return _Sku(f"{derived.model}, {direction}", meter, msgspec.json.encode(details).decode())


def check_query(endpoint: str, group_by: Sequence[str]) -> None:
    """Check that a query gives the rows of a file.

    Raises:
        QueryError: It does not; the message says what to write.
    """
    if endpoint != COSTS.name or not set(GROUPING) <= set(group_by):
        raise QueryError(
            "FOCUS takes costs by project and line item: write client.costs(...,"
            f" group_by={list(GROUPING)})"
        )
    unknown = set(group_by) - {*GROUPING, *_DIMENSIONS}
    if unknown:
        raise QueryError(
            f"FOCUS has no column for {', '.join(sorted(unknown))}: leave it out of group_by"
        )


class Charges:
    """Rows of one file, made of buckets by rising start.

    Args:
        group_by: Dimensions of the query.
        as_of: Unix seconds at which its run began.
        settled_before: Unix seconds: buckets that end later may still be revised.
    """

    def __init__(self, group_by: Sequence[str], *, as_of: int, settled_before: int) -> None:
        self._settles_after_s = as_of - settled_before
        self._as_of = as_of
        self._totals = Totals(CostsResult, COSTS.measure, group_by, as_of=as_of)
        self._account: str | None = None
        self._accounts: dict[str | None, str] = {}
        self._projects: dict[str, str] = {}
        self._unpriced: dict[int, int] = {}
        self._unowned: dict[int, int] = {}

    def rows(self, buckets: Sequence[UsageTimeBucket[CostsResult]]) -> Iterator[dict[str, Any]]:
        """Give the rows of buckets, values by column; times are Unix seconds.

        Raises:
            IncompleteError: There are rows of a kind that this release cannot add up.
        """
        days = [(bucket, self._added(bucket)) for bucket in buckets]
        for _, results in days:
            for row in results:
                self._learn(row)
        for bucket, results in days:
            when = self._times(bucket)
            for row in results:
                if row.amount is None:
                    _count(self._unpriced, bucket)
                    continue
                owners = self._owners(row)
                if owners["BillingAccountId"] is None:
                    _count(self._unowned, bucket)
                own = {column: getattr(row, name) or None for name, column in _DIMENSIONS.items()}
                yield {**_SAME, **when, **owners, **_money(row.amount), **_service(row), **own}

    def notices(self) -> Iterator[Notice]:
        """Give the differences between the file and what was read, so far."""
        if self._unpriced:
            what = "without an amount left out, since FOCUS has no charge without cost and currency"
            yield _notice("left-out", self._unpriced, what)
        if self._unowned:
            what = "without an organization id: BillingAccountId is null there"
            yield _notice("no-account", self._unowned, what)

    def _added(self, bucket: UsageTimeBucket[CostsResult]) -> list[CostsResult]:
        """Add rows of equal dimensions up, and order them."""
        totals = self._totals.emptied()
        totals.add(bucket)
        return sorted(totals.groups(), key=_rank)

    def _learn(self, row: CostsResult) -> None:
        account = row.organization_id or None
        self._account = account or self._account
        if row.organization_name:
            self._accounts[account] = row.organization_name
        if row.project_id and row.project_name:
            self._projects[row.project_id] = row.project_name

    def _times(self, bucket: UsageTimeBucket[CostsResult]) -> dict[str, int | None]:
        settled = bucket.end_time + self._settles_after_s
        first = bucket.start.replace(day=1, hour=0, minute=0, second=0)
        return {
            "ChargePeriodStart": bucket.start_time,
            "ChargePeriodEnd": bucket.end_time,
            "BillingPeriodStart": int(first.timestamp()),
            "BillingPeriodEnd": int(_next_month(first).timestamp()),
            "x_SettledAt": settled if settled <= self._as_of else None,
        }

    def _owners(self, row: CostsResult) -> dict[str, str | None]:
        account, project = row.organization_id or self._account, row.project_id or None
        known = self._accounts.get(account) or self._accounts.get(None)
        return {
            "BillingAccountId": account,
            "BillingAccountName": row.organization_name or known,
            "SubAccountId": project,
            "SubAccountName": project and (row.project_name or self._projects.get(project)),
            "SubAccountType": project and "Project",
        }


def _rank(row: CostsResult) -> tuple[str, ...]:
    """Give the place of a row in its day, which does not depend on the order of the reply."""
    parts = [getattr(row, name) or "" for name in ("project_id", *_DIMENSIONS)]
    return *parts, "" if row.amount is None else row.amount.currency


def _money(amount: CostsResultAmount) -> dict[str, Any]:
    costs = dict.fromkeys(COSTS_COLUMNS, amount.value)
    return {**costs, "BillingCurrency": amount.currency.upper()}


def _service(row: CostsResult) -> dict[str, Any]:
    """Give the columns of what the money was spent on."""
    line_item, quantity, unit = row.line_item, row.quantity, row.quantity_unit
    if not line_item or line_item.isspace():
        return {**_NOTHING}
    sku = _sku(line_item, unit)
    made = {**_NOTHING} | {
        "ChargeDescription": line_item,
        "SkuId": sku.identity,
        "SkuPriceId": sku.identity,
        "SkuMeter": sku.meter,
        "SkuPriceDetails": sku.details,
    }
    if quantity is None or not unit:
        return made
    named = _UNITS.get(unit) or _Unit(unit, unit)
    return made | {
        "ConsumedQuantity": quantity,
        "ConsumedUnit": named.consumed,
        "PricingQuantity": EXACT.multiply(quantity, named.factor),
        "PricingUnit": named.priced,
    }


def _next_month(first: datetime) -> datetime:
    return (first + _MORE_THAN_A_MONTH).replace(day=1)


def _count(rows: dict[int, int], bucket: UsageTimeBucket[CostsResult]) -> None:
    rows[bucket.start_time] = rows.get(bucket.start_time, 0) + 1


def _notice(code: str, rows: Mapping[int, int], what: str) -> Notice:
    number = sum(rows.values())
    told = f"{number} row{'s' * (number != 1)} {what}"
    return Notice(code=code, message=told, endpoint=COSTS.name, starts=tuple(rows))
