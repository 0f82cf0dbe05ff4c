"""Methods by which pydantic asks a class of values for its schema.

Only whoever uses pydantic calls them, and imports what makes the schemas.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema


@classmethod  # type: ignore[misc] # becomes a method of each class
def pydantic_schema(cls: type, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
    """Make the schema of this class for pydantic."""
    from usage_async._api.written_schema import core_schema_of

    return core_schema_of(cls, source, handler, is_apart=False)


@classmethod  # type: ignore[misc] # as above
def pydantic_schema_of_row(cls: type, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
    """Make the schema of a flat row, whose `extra` may name fields of other kinds of rows."""
    from usage_async._api.written_schema import core_schema_of

    return core_schema_of(cls, source, handler, is_apart=True)
