"""URLs of stores: what is read of them, and what nobody ever sees."""

import pickle
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usage_async._http.key import Secret
from usage_async.collect import open_store
from usage_async.collect.store_url import conninfo, holds_password, parameters
from usage_async.errors import ConfigurationError

PASSWORD = "canary-0123456789-AbCdEfGh"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://", {}),
        ("postgres://h", {"host": "h"}),
        ("postgresql://h/", {"host": "h"}),
        ("postgresql:///d", {"dbname": "d"}),
        (
            "postgresql://u:p@h:5433/d",
            {"user": "u", "password": "p", "host": "h", "port": "5433", "dbname": "d"},
        ),
        ("postgresql://u@", {"user": "u"}),
        ("postgresql://u:@/d", {"user": "u", "dbname": "d"}),
        (
            "postgresql://u%40x:p%2Fq%3A%25@h/d%20e",
            {"user": "u@x", "password": "p/q:%", "host": "h", "dbname": "d e"},
        ),
        ("postgresql://[::1]:5/d", {"host": "::1", "port": "5", "dbname": "d"}),
        ("postgresql://a:1,b,c:3/d", {"host": "a,b,c", "port": "1,,3", "dbname": "d"}),
        ("postgresql://a,b/d", {"host": "a,b", "dbname": "d"}),
        ("postgresql://%2Fvar%2Frun/d", {"host": "/var/run", "dbname": "d"}),
        (
            "postgresql:///d?host=/run/x&port=7&sslmode=require&options=-csearch_path%3Da",
            {
                "dbname": "d",
                "host": "/run/x",
                "port": "7",
                "sslmode": "require",
                "options": "-csearch_path=a",
            },
        ),
        ("postgresql://h/d?host=other", {"host": "other", "dbname": "d"}),
        (
            "postgresql://u@h/d?password=p%26q",
            {"user": "u", "host": "h", "dbname": "d", "password": "p&q"},
        ),
        ("postgresql://h/d?", {"host": "h", "dbname": "d"}),
    ],
)
def test_a_url_is_read_as_libpq_reads_it(url, expected):
    found = parameters(Secret(url))
    assert found == expected
    assert all(isinstance(value, Secret) for value in found.values())


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u:{PASSWORD}@extra@h/d",
        f"postgresql://u:a/{PASSWORD}@h/d",
        f"postgresql://u:a?{PASSWORD}@h/d",
        f"postgresql://u:a#{PASSWORD}@h/d",
        f"postgresql://u:a:{PASSWORD}/d",
        f"postgresql://u:{PASSWORD}",
        f"postgresql://u:{PASSWORD}@h:port/d",
        f"postgresql://u:{PASSWORD}@[::1/d",
        f"postgresql://u:{PASSWORD}@h/d?passfile",
        f"postgresql://u:{PASSWORD}@h/d?a=b=c",
        f"postgresql://u:{PASSWORD}%00@h/d",
        f"postgresql://u:{PASSWORD}%ff@h/d",
        f"postgresql:/u:{PASSWORD}@h/d",
        f"postgresql:host=h password={PASSWORD}",
        f"mysql://u:{PASSWORD}@h/d",
        f"u:{PASSWORD}@h/d",
        PASSWORD,
        "",
        "duckdb:",
        "duckdb::memory:",
        f"delta:s3://key:{PASSWORD}@bucket/folder",
        f"delta:s3://[{PASSWORD}/folder",
        f"delta:s3://bucket/folder?secret={PASSWORD}",
        f"delta:s3://bucket/{PASSWORD}%41",
        f"delta:a/{PASSWORD}%41",
        f"delta:{PASSWORD}://bucket",
    ],
)
def test_what_is_no_url_is_refused_and_not_shown(url):
    with pytest.raises(ConfigurationError) as raised:
        open_store(url)
    shown = "".join(
        traceback.TracebackException.from_exception(raised.value, capture_locals=True).format()
    )
    # This frame alone holds the URL as the caller wrote it.
    assert shown.count(PASSWORD) == url.count(PASSWORD)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("duckdb:usage.duckdb", False),
        ("delta:s3://bucket/a:b@c", False),
        ("postgresql://u@h/d", False),
        ("postgresql://u:@h/d", False),
        ("postgresql://u:p@h/d", True),
        ("POSTGRES://u:p@h/d", True),
        ("postgresql://u@h/d?password=p", True),
        ("postgresql://u@h/d?sslpassword=p", True),
        ("postgresql://u@h/d?sslmode=require", False),
        ("postgresql://u:p@q@h/d", False),
        ("postgresql:anything", False),
        ("postgresql://u@h:port/d", False),
    ],
)
def test_a_password_in_a_url_is_found(url, expected):
    assert holds_password(url) is expected


@given(values=st.dictionaries(st.sampled_from(["a", "b"]), st.text(), min_size=1))
def test_parameters_are_quoted(values):
    text = conninfo({name: Secret(value) for name, value in values.items()})
    assert isinstance(text, Secret)
    assert _read(text) == values


def _read(text):
    """Read parameters by libpq's rule: quotes, and a backslash before a quote or a backslash."""
    found, rest = {}, str(text)
    while rest:
        name, _, rest = rest.partition("='")
        value = ""
        while not rest.startswith("'"):
            rest = rest.removeprefix("\\") if rest[0] == "\\" else rest
            value, rest = value + rest[0], rest[1:]
        found[name], rest = value, rest[1:].lstrip(" ")
    return found


def test_a_store_is_not_pickled_with_its_password():
    store = open_store(f"postgresql://user:{PASSWORD}@host/base")
    with pytest.raises(TypeError, match="open it where it is used"):
        pickle.dumps(store)


def test_no_part_of_a_url_is_in_the_repr_of_a_store():
    store = open_store(f"postgresql://user:{PASSWORD}@host/base")
    assert repr(store._backend) == "PostgreSQL()"
    assert "canary" not in repr(vars(store._backend))
    assert "canary" not in repr(vars(store))
