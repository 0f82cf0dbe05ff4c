"""Parameters of the routes, derived from the table of endpoints."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal
from functools import cache
from typing import Any, Literal, get_origin, get_type_hints

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, create_model
from starlette.datastructures import QueryParams

from usage_async._api.endpoints import Endpoint
from usage_async._api.fields import FIELDS
from usage_async._query.times import CALENDAR
from usage_async.errors import QueryError
from usage_async.report.spec import GROUPINGS

_TIME = 'An ISO time with an offset, a date, Unix seconds, or a time before now such as "7d".'
_DOCS: Mapping[str, str] = {
    "start_time": f"Start, inclusive. {_TIME}",
    "end_time": f"End, exclusive; by default now. {_TIME}",
    "period": (
        'Both ends in a word: "2026-10", "2026-Q4", "2026", "2026-W40", "2026-10-05", "7d", '
        + ", ".join(f'"{word}"' for word in CALENDAR)
        + "."
    ),
    "bucket_width": "Width of a bucket.",
    "group_by": "Dimensions to group by; repeat it for several.",
    "clamp": "True to leave out the part of the range before the service's history begins.",
}
_NOT_OF_THE_WEB = ("limit", "page")
"""Parameters of the requests to the service; a reply here is whole."""


class Parameters(BaseModel):
    """Base of the parameters of a route: a name that is not known is refused, not ignored.

    Not by pydantic, which does not know the parameters of the route's dependencies, and would quote
    the value: that may be a key for signing in.
    """

    def given(self) -> dict[str, Any]:
        """Give the parameters that were given, as a query takes them."""
        return {name: getattr(self, name) for name in self.model_fields_set - {"exact"}}

    def check(self, sent: QueryParams, declared: Collection[str]) -> None:
        """Refuse unknown names, and a second value of what takes one.

        Who reads the first of two values would read another query.

        Args:
            sent: What was sent.
            declared: Names that the route or its dependencies declare.

        Raises:
            RequestValidationError: A name is not known.
            QueryError: A parameter is given twice.
        """
        if unknown := dict.fromkeys(name for name in sent if name not in declared):
            told = {"type": "extra_forbidden", "msg": "There is no such parameter"}
            raise RequestValidationError([{**told, "loc": ("query", name)} for name in unknown])
        for name, field in type(self).model_fields.items():
            if get_origin(field.annotation) is not list and len(sent.getlist(name)) > 1:
                raise QueryError(f"{name} takes one value, and is given several times")

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Give the names of the parameters."""
        return tuple(cls.model_fields)


@cache
def parameters_of(endpoint: Endpoint) -> type[Parameters]:
    """Make the parameters of an endpoint."""
    fields: dict[str, Any] = {}
    for name in get_type_hints(endpoint.params):
        if name not in _NOT_OF_THE_WEB:
            kind, default = _typed(endpoint, name)
            fields[name] = (kind, Field(default, description=_doc(endpoint, name)))
    title = "".join(word.capitalize() for word in endpoint.name.split("_"))
    return create_model(f"{title}Parameters", __base__=Parameters, **fields)


class BucketsParameters(Parameters):
    """Parameters of a route whose reply may be a table."""

    exact: bool = Field(
        default=False,
        description=(
            "Of Arrow's stream: true to round money and quantities that have more than 18 decimal"
            " places, and to add all digits as texts: `amount_exact`, `quantity_exact`. JSON and"
            " NDJSON have all digits in any case."
        ),
    )


@cache
def buckets_parameters_of(endpoint: Endpoint) -> type[BucketsParameters]:
    """Make the parameters of the buckets of an endpoint."""
    shared = parameters_of(endpoint)
    bases: Any = (BucketsParameters, shared)
    made: Any = create_model(f"Buckets{shared.__name__}", __base__=bases)
    kind: type[BucketsParameters] = made
    return kind


def _typed(endpoint: Endpoint, name: str) -> tuple[Any, Any]:
    """Give the type of a parameter, and its default."""
    if name == "bucket_width":
        return _one_of(endpoint.bucket_widths), "1d"
    if name == "group_by":
        return list[_one_of(endpoint.group_by)], None  # type: ignore[misc] # made of values
    if name == "clamp":
        return bool, False
    entry = endpoint.filters.get(name)
    if entry is None:
        return str, None
    if entry.type is bool:
        return bool, None
    is_closed = entry.choices and not entry.is_open
    return list[_one_of(entry.choices) if is_closed else str], None  # type: ignore[misc] # as above


def _one_of(values: Iterable[str]) -> Any:
    literal: Any = Literal
    return literal[tuple(values)]


def _doc(endpoint: Endpoint, name: str) -> str:
    if name in _DOCS:
        return _DOCS[name]
    entry = endpoint.filters[name]
    about = FIELDS[entry.dimension].doc.partition(";")[0].rstrip(".")
    known = f" Known: {', '.join(entry.choices)}." if entry.is_open else ""
    return f"Filter: only these values. {about}.{known}"


class PageParameters(Parameters):
    """Parameters of the page of a report."""

    by: str = Field(
        "project_id",
        description=f"Dimension to split it by, or two with a comma: {', '.join(GROUPINGS)}.",
    )
    period: str = Field("last-month", description=_DOCS["period"])


class ReportParameters(PageParameters):
    """Parameters of a report."""

    compare: bool = Field(default=False, description="True to compare with the period before.")


class ExplainParameters(Parameters):
    """Parameters of the change of a bill."""

    period: str = Field("last-month", description=_DOCS["period"])
    against: str | None = Field(
        None,
        description="The period to compare with, in the same words. By default the one before, cut"
        " to as many whole days while the period still runs.",
    )


class ReconcileParameters(Parameters):
    """Parameters of billed quantities beside usage."""

    period: str = Field("last-month", description=_DOCS["period"])


class BudgetParameters(Parameters):
    """Parameters of a month beside its budget."""

    monthly: Decimal = Field(
        description="The budget of a month.", ge=0, max_digits=27, decimal_places=12
    )
    period: str = Field("this-month", description="The month: this-month, last-month, 2026-10.")
    by: Literal["project_id", "user_id", "api_key_id", "line_item"] | None = Field(
        None, description="Dimension to show groups by."
    )
    currency: str = Field("usd", description="Currency of the budget.", pattern="^[A-Za-z]{3}$")
