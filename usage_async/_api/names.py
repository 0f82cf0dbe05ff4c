"""Projects, users and API keys, as the API lists them. Rows of usage hold only their ids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

import attrs

from usage_async._api.codegen import on_the_wire
from usage_async._api.exact import NO_EXTRA, Extra, short_repr
from usage_async._api.pydantic_schema import pydantic_schema

NameList = Literal["projects", "users", "api_keys"]
"""A list of names that the service has."""


@on_the_wire
@attrs.frozen(kw_only=True, weakref_slot=False)
class Project:
    """A project of the organization.

    Attributes:
        id: Such as `proj_…`, the `project_id` of rows.
        name: Name, as its owners may change it.
        status: `active`, or `archived`.
        created_at: Unix seconds.
        archived_at: Unix seconds; None while it is in use.
        external_key_id: Key of a customer's own encryption.
        residency: Region in which its data stay.
        object: The API's name for this kind of value, as sent.
        extra: Fields of the reply that this release does not know, by name.
    """

    id: str
    name: str | None = None
    status: str | None = None
    created_at: int | None = None
    archived_at: int | None = None
    external_key_id: str | None = None
    residency: str | None = None
    object: str | None = attrs.field(default=None, eq=False, repr=False)
    extra: Extra = NO_EXTRA

    __repr__ = short_repr
    __get_pydantic_core_schema__ = pydantic_schema

    @property
    def label(self) -> str:
        """The name; the id where there is none."""
        return self.name or self.id


@on_the_wire
@attrs.frozen(kw_only=True, weakref_slot=False)
class User:
    """A member of the organization, or a service account of one of its projects.

    Attributes:
        id: Such as `user-…`, the `user_id` of rows.
        name: Name.
        email: Address; service accounts have none.
        role: Role in the organization; of an owner of an API key, in the project.
        added_at: When the user joined the organization, Unix seconds.
        created_at: When the owner of an API key was created, Unix seconds.
        is_service_account: Whether it is a service account; None where the service does not tell.
        object: The API's name for this kind of value, as sent.
        extra: Fields of the reply that this release does not know, by name.
    """

    id: str
    name: str | None = None
    email: str | None = None
    role: str | None = None
    added_at: int | None = None
    created_at: int | None = None
    is_service_account: bool | None = None
    object: str | None = attrs.field(default=None, eq=False, repr=False)
    extra: Extra = NO_EXTRA

    __repr__ = short_repr
    __get_pydantic_core_schema__ = pydantic_schema

    @property
    def label(self) -> str:
        """The name; without one the address, else the id."""
        return self.name or self.email or self.id


@on_the_wire
@attrs.frozen(kw_only=True, weakref_slot=False)
class ApiKeyOwner:
    """The owner of an API key: a user or a service account.

    Attributes:
        type: `user` or `service_account`.
        user: The user, where it is one.
        service_account: The service account, where it is one.
        extra: Fields of the reply that this release does not know, by name.
    """

    type: str | None = None
    user: User | None = None
    service_account: User | None = None
    extra: Extra = NO_EXTRA

    __repr__ = short_repr
    __get_pydantic_core_schema__ = pydantic_schema


@on_the_wire
@attrs.frozen(kw_only=True, weakref_slot=False)
class ApiKey:
    """An API key of a project, without anything of the key itself.

    The service shows the last characters of a key (`redacted_value`). A reading drops them, since
    names are kept in files and shown to people.

    Attributes:
        id: Such as `key_…`, the `api_key_id` of rows.
        name: Name.
        project_id: The project whose list it is in.
        owner: Who made it.
        owner_project_access: Whether the owner still has access to the project: `active` or
            `inactive`.
        created_at: Unix seconds.
        last_used_at: Unix seconds.
        expires_at: Unix seconds.
        object: The API's name for this kind of value, as sent.
        extra: Fields of the reply that this release does not know, by name.
    """

    id: str
    name: str | None = None
    project_id: str | None = None
    owner: ApiKeyOwner | None = None
    owner_project_access: str | None = None
    created_at: int | None = None
    last_used_at: int | None = None
    expires_at: int | None = None
    object: str | None = attrs.field(default=None, eq=False, repr=False)
    extra: Extra = NO_EXTRA

    __repr__ = short_repr
    __get_pydantic_core_schema__ = pydantic_schema

    @property
    def label(self) -> str:
        """The name; the id where there is none."""
        return self.name or self.id


def owners(keys: Iterable[ApiKey]) -> Iterator[User]:
    """Give the owners of API keys as users; a service account says that it is one."""
    for key in keys:
        if key.owner is not None and key.owner.user is not None:
            yield key.owner.user
        if key.owner is not None and key.owner.service_account is not None:
            yield attrs.evolve(key.owner.service_account, is_service_account=True)
