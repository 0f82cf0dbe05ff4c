import ssl

import pytest

from usage_async import ConfigurationError, QueryError
from usage_async._cli.connection import (
    Connection,
    environment_certificates,
    environment_proxy,
    open_target,
)
from usage_async._cli.context import Context
from usage_async._client.client import BASE_URL

PROXY = "http://proxy.test:3128"


@pytest.mark.parametrize(
    ("settings", "base_url", "proxy"),
    [
        ({}, BASE_URL, None),
        ({"HTTPS_PROXY": PROXY}, BASE_URL, PROXY),
        ({"ALL_PROXY": PROXY}, BASE_URL, PROXY),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "openai.com"}, BASE_URL, None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "example.com"}, BASE_URL, PROXY),
        ({"HTTP_PROXY": PROXY, "HTTPS_PROXY": PROXY}, "http://127.0.0.1:8089/v1", None),
    ],
)
def test_the_proxy_of_the_environment_is_used_for_https_only(bare, settings, base_url, proxy):
    for name, value in settings.items():
        bare.setenv(name, value)
    assert environment_proxy(base_url) == proxy


def test_other_certificates_are_read_from_the_file_that_is_named(bare, tmp_path):
    assert environment_certificates() is None
    file = tmp_path / "none.pem"
    bare.setenv("SSL_CERT_FILE", str(file))
    with pytest.raises(ConfigurationError, match="No such file"):
        environment_certificates()
    file.write_text("not a certificate")
    with pytest.raises(ConfigurationError, match=r"none\.pem, which cannot be read"):
        environment_certificates()
    file.write_text(_CERTIFICATE)
    assert isinstance(environment_certificates(), ssl.SSLContext)


async def test_the_options_come_before_the_environment(bare):
    bare.setenv("OPENAI_ADMIN_KEY", "sk-admin-secret")
    bare.setenv("USAGE_ASYNC_BASE_URL", "https://one.test/v1")
    bare.setenv("HTTPS_PROXY", PROXY)
    context = Context(None, {})
    async with open_target(Connection(), context) as there:
        assert (there.base_url, there.proxy) == ("https://one.test/v1", PROXY)
        assert "secret" not in repr(there)
    given = Connection(base_url="https://two.test/v1", proxy="http://other.test:1")
    async with open_target(given, context) as there:
        assert (there.base_url, there.proxy) == ("https://two.test/v1", "http://other.test:1")
    bare.delenv("USAGE_ASYNC_BASE_URL")
    async with open_target(Connection(), context) as there:
        assert there.base_url == BASE_URL


async def test_a_demonstration_goes_nowhere():
    with pytest.raises(QueryError, match="leave --base-url and --proxy out"):
        async with open_target(Connection(demo=True, proxy=PROXY), Context(None, {})):
            pass


_CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBdjCCARugAwIBAgIUQCeRsUjMeoDw/N+IQg26w1u4cTswCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMjEwNjAxMjdaGA8yMTI2MTAyODA2MDEy
N1owDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABCTJ
apQJ7vo3b5CyqheHURep9LrSpGMY0FtKYguCW4YMDLDrFaDYHQKbhuFk7S4THNln
pQgl4SthAqOz8rKkPWajUzBRMB0GA1UdDgQWBBSjDTLWQezQytbrmWP4StLj/N5t
XzAfBgNVHSMEGDAWgBSjDTLWQezQytbrmWP4StLj/N5tXzAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0kAMEYCIQD1oI/4C1yX0rykDubeMbxQbC7cfRaCXA/L
lG2tKrYQ2wIhAOUXoz+18Onf0wzLh1G5Ftsee3svFMU2wGTm/Ybq+qah
-----END CERTIFICATE-----
"""
