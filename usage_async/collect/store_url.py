"""URLs of stores. Pure.

The URL of a PostgreSQL database may hold a password. It is read here and not by libpq, whose
messages quote a URL that it does not understand. All parts of it are `Secret`, so that no traceback
shows them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote

from usage_async._http.key import Secret

POSTGRESQL_SCHEMES = ("postgresql", "postgres")
_SECRETS = ("password", "sslpassword")
"""Parameters that are passwords."""
_URL = re.compile(
    r"[A-Za-z]+://(?:(?P<user>[^:@/?#]*)(?::(?P<password>[^@/?#]*))?@)?(?P<hosts>[^@/?#]*)"
    r"(?:/(?P<dbname>[^@/?#]*))?(?:\?(?P<options>[^@?#]*))?"
)
"""A URL of libpq. A character that ends a part must be percent-encoded within it: read in any other
way, a part of a password might be taken for the name of a host, which messages show."""
_HOST = re.compile(r"(?:\[(?P<address>[0-9A-Fa-f:.]+)\]|(?P<name>[^:\[\]]*))(?::(?P<port>[0-9]*))?")
_PARAMETER = re.compile(r"(?P<name>[a-z_]+)=(?P<value>[^=]*)")


def scheme_of(url: Secret) -> str:
    """Give the scheme of a URL, in lowercase; empty if it has none."""
    found = re.match("([A-Za-z]+):", url)
    return found[1].lower() if found else ""


def place_of(url: Secret) -> Secret:
    """Give what follows the scheme of a URL."""
    return Secret(url[url.find(":") + 1 :])


def holds_password(url: str) -> bool:
    """Tell if the URL of a store holds a password.

    Args:
        url: As for `open_store`, which refuses one that cannot be read, and does not show it.
    """
    url = Secret(url)
    if scheme_of(url) not in POSTGRESQL_SCHEMES:
        return False
    found = parameters(url) or {}
    return any(found.get(name) for name in _SECRETS)


def parameters(url: Secret) -> dict[str, Secret] | None:
    """Read the URL of a PostgreSQL database into parameters of libpq.

    Args:
        url: The URL.

    Returns:
        Value by name; None if it is no such URL. Several hosts are a list with commas.
    """
    found = _URL.fullmatch(url)
    if found is None:
        return None
    try:
        pairs = list(_pairs(found))
    except ValueError:
        return None
    # As for libpq, a parameter counts more than the same one before it.
    return {name: value for name, value in pairs if value}


def _pairs(url: re.Match[str]) -> Iterator[tuple[str, Secret]]:
    """Give the parameters of a URL in order.

    Raises:
        ValueError: A part cannot be read.
    """
    for name in ("user", "password", "dbname"):
        yield name, _decoded(url[name] or "")
    hosts = [found for part in url["hosts"].split(",") if (found := _HOST.fullmatch(part))]
    if len(hosts) <= url["hosts"].count(","):
        raise ValueError
    yield "host", Secret(",".join(_decoded(host["address"] or host["name"]) for host in hosts))
    ports = [host["port"] or "" for host in hosts]
    yield "port", Secret(",".join(ports) if any(ports) else "")
    for text in filter(None, (url["options"] or "").split("&")):
        parameter = _PARAMETER.fullmatch(text)
        if parameter is None:
            raise ValueError
        yield parameter["name"], _decoded(parameter["value"])


def _decoded(text: str) -> Secret:
    made = Secret(unquote(text, errors="strict"))
    if "\0" in made:
        raise ValueError
    return made


def conninfo(values: dict[str, Secret]) -> Secret:
    """Write parameters of libpq as it reads them."""
    return Secret(
        " ".join(
            "{}='{}'".format(name, value.replace("\\", "\\\\").replace("'", "\\'"))
            for name, value in values.items()
        )
    )
