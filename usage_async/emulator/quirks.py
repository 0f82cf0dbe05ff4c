"""`Quirks`: oddities that the live service has sent, or may send, and that a client must survive.

`service/oddities.py` applies them to pages.
"""

from __future__ import annotations

from typing import Literal

import attrs

_MOST_HOLLOW = (1 << 16) - 1
"""The highest count for which a cursor of the emulator has room."""


@attrs.frozen(kw_only=True)
class Quirks:
    """Differences between the emulated service and the documentation.

    The defaults are those of the live service. Quirks can be combined. However pages are cut, every
    bucket that has begun is sent once, unless a quirk says that it is left out or repeated.

    Attributes:
        result_key: Field of a bucket that holds its rows. The live service once used `result`.
        number_amounts: Amounts are JSON numbers instead of strings. The live service sends both.
        iso_fields: Buckets carry `start_time_iso` and `end_time_iso`, with or without an offset.
        unknown_fields: Pages, buckets and rows carry fields that the documentation lacks.
        other_kinds: Each bucket with rows also carries a row of another endpoint and a row of an
            unknown kind.
        repeated_rows: Each row comes as two rows with equal dimensions, which add up to it.
        string_batch: `batch` is `"true"` or `"false"`.
        legacy_sessions: `num_sessions` is called `sessions`.
        short_pages: A page has fewer buckets than `limit`, and a cursor.
        extra_empty_page: The last page with buckets has a cursor to a page with an empty `data`.
        hollow_pages: Number of pages with an empty `data` and a cursor between two other pages.
        missing_buckets: Every n-th bucket, counted from the epoch, is left out; 0: none.
        missing_starts: Starts of buckets that are left out, Unix seconds.
        empty_starts: Starts of buckets that are sent without rows, Unix seconds.
        missing_in: Replies in which buckets are left out: `all`, only `grouped` ones, or only
            `ungrouped` ones.
        lossy_groups: In grouped replies every n-th bucket, counted from the epoch, lacks its last
            row; 0: none.
        cut_buckets: The bucket that contains `end_time` has only the figures before `end_time`.
            The live service sends that bucket whole.
        repeated_buckets: The first bucket of each page comes twice.
        contradicting_buckets: The first bucket of each page comes twice, with different rows.
        foreign_buckets: Each page begins with the bucket before the range.
        cursors: `good`; `missing`: `has_more` without `next_page`; `repeated`: the second page's
            cursor leads to the second page; `looping`: the third page's cursor leads to the first.
        refuse_user_by_project: Costs refuse `group_by` with both `user_id` and `project_id`.
        refuse_archived_projects: The API keys of an archived project cannot be listed.
        refuse_names: Every list of names is refused, as for a restricted key that may read usage
            and costs only.
        hide_enabled_keys: Without `owner_project_access`, a key list has only keys whose owners
            have lost access to the project.
        lookback_days: Length of the history in days.
        api_key_floor: Costs by `api_key_id` are refused before this instant, Unix seconds.
        costs_page_buckets: Maximum of buckets on a page of costs, whatever its `limit`.
        settling_days: Days for which the figures of a day still grow.
        compress: Replies are compressed if the client accepts it.
    """

    result_key: str = "results"
    number_amounts: bool = False
    iso_fields: bool = True
    unknown_fields: bool = False
    other_kinds: bool = False
    repeated_rows: bool = False
    string_batch: bool = False
    legacy_sessions: bool = False
    short_pages: bool = False
    extra_empty_page: bool = False
    hollow_pages: int = attrs.field(
        default=0, validator=[attrs.validators.ge(0), attrs.validators.le(_MOST_HOLLOW)]
    )
    missing_buckets: int = 0
    missing_starts: tuple[int, ...] = ()
    empty_starts: tuple[int, ...] = ()
    missing_in: Literal["all", "grouped", "ungrouped"] = "all"
    lossy_groups: int = 0
    cut_buckets: bool = False
    repeated_buckets: bool = False
    contradicting_buckets: bool = False
    foreign_buckets: bool = False
    cursors: Literal["good", "missing", "repeated", "looping"] = "good"
    refuse_user_by_project: bool = False
    refuse_archived_projects: bool = False
    refuse_names: bool = False
    hide_enabled_keys: bool = False
    lookback_days: int = 365
    api_key_floor: int = 1764979200
    costs_page_buckets: int = 31
    settling_days: int = 0
    compress: bool = False
