"""Tables as users of the official client write them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def data_frame(buckets: Iterable[Any]) -> pd.DataFrame:
    """Make a data frame of the official client's buckets: one line for each result."""
    import pandas as pd

    return pd.DataFrame(
        [
            {"start_time": bucket.start_time, "end_time": bucket.end_time, **result.to_dict()}
            for bucket in buckets
            for result in bucket.results
        ]
    )
