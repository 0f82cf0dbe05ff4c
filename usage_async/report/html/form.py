"""Form of a page that is served: what is asked for, and what else can be. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import permutations

import attrs

from usage_async.report.spec import GROUPINGS, By, read_by

PEOPLE: tuple[By, ...] = ("user_id", "api_key_id")
"""Dimensions that a scope has only if it shows people."""
APART: tuple[By, ...] = ("user_id",)
"""Dimensions of costs that no scope has: the service refuses to group by project beside them."""
_BILLED: Collection[By] = ("line_item", "model")
"""Dimensions that are one for the bill: a pair of them shows nothing that each alone does not."""


@attrs.frozen
class Question:
    """The question that the form shows.

    Attributes:
        period: A period in a word, as `period=` of a query.
        by: One dimension or two, separated by a comma.
    """

    period: str
    by: str


@attrs.frozen
class Choice:
    """A grouping to choose.

    Attributes:
        value: Its word in the URL.
        noun: Its name for people.
        is_chosen: True if it is what was asked for.
    """

    value: str
    noun: str
    is_chosen: bool


@attrs.frozen
class Form:
    """A form.

    Attributes:
        period: The period that was asked for, as it was written.
        choices: Groupings by the headline above them.
        json: Path and query of the same figures as JSON; empty where there are none.
    """

    period: str
    choices: tuple[tuple[str, tuple[Choice, ...]], ...]
    json: str = ""


def form_of(
    question: Question,
    write: Callable[[By], str] = str,
    *,
    without: Collection[By] = (),
    json: str = "",
) -> Form:
    """Make the form that shows a question.

    Args:
        question: The question; its grouping is a valid one.
        write: Gives the word of a dimension in the URL.
        without: Dimensions that are not offered.
        json: Path and query of the same figures as JSON.
    """
    chosen = read_by(question.by)
    ones: list[By] = [by for by in GROUPINGS if by not in without]
    pairs: list[tuple[By, By]] = [
        (outer, inner) for outer, inner in permutations(ones, 2) if {outer, inner} != {*_BILLED}
    ]

    def choice(dimensions: tuple[By, ...]) -> Choice:
        noun = ", then ".join(GROUPINGS[by].noun for by in dimensions)
        return Choice(",".join(map(write, dimensions)), noun, dimensions == chosen)

    groups = (
        ("One dimension", tuple(choice((by,)) for by in ones)),
        ("Two dimensions", tuple(map(choice, pairs))),
    )
    return Form(question.period, groups, json)
