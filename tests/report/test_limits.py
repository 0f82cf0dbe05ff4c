"""Spend limits: what is read, what is left out and told, and what a scope allows."""

from __future__ import annotations

import json
from decimal import Decimal

import attrs
import pytest
from service import KEY, over

from usage_async import ScopeError
from usage_async._api.limits import SpendLimit
from usage_async._codec.limits import LimitDecoder
from usage_async._codec.redactor import NO_KEY
from usage_async.emulator import Emulator, Quirks
from usage_async.emulator.demonstration import client_of
from usage_async.report.limits import read_spend_limits

LIMIT = {
    "object": "organization.spend_limit",
    "currency": "USD",
    "interval": "month",
    "threshold_amount": 500_050,
    "enforcement": {"status": "enforcing"},
}


@attrs.define
class Service:
    """Answers by the end of the path."""

    replies: dict[str, tuple[int, object]]
    asked: list[str] = attrs.field(factory=list)

    async def __call__(self, path, params, headers):
        self.asked.append(path)
        found = [reply for end, reply in self.replies.items() if path.endswith(end)]
        status, body = found[0] if found else (200, LIMIT)
        return status, {}, body if isinstance(body, bytes) else json.dumps(body).encode()


def service(**replies):
    return Service({name.replace("__", "/"): reply for name, reply in replies.items()})


def refusal(**error):
    return {"error": {"message": "No.", "type": "t", "param": None, "code": None, **error}}


async def test_limits_are_in_cents_and_read_from_their_own_paths():
    answers = service()
    async with over(answers) as client:
        found = await read_spend_limits(client, ["proj_1", None, "proj_1", "not/an/id", "proj_2"])
    assert found.organization == SpendLimit(threshold_amount=500_050, enforcement="enforcing")
    assert found.organization.amount == Decimal("5000.5")
    assert sorted(found.projects) == ["proj_1", "proj_2"]
    assert sorted(answers.asked) == [
        "/organization/projects/proj_1/spend_limit",
        "/organization/projects/proj_2/spend_limit",
        "/organization/spend_limit",
    ]
    assert found.notices == ()


@pytest.mark.parametrize(
    ("reply", "wanted"),
    [
        ((404, refusal()), None),
        ((200, {**LIMIT, "threshold_amount": None}), None),
        ((200, {"threshold_amount": 7, "new": [1]}), SpendLimit(threshold_amount=7)),
        (
            (200, {**LIMIT, "currency": "EUR", "enforcement": None, "interval": "week"}),
            SpendLimit(threshold_amount=500_050, currency="eur", interval="week"),
        ),
    ],
)
async def test_a_limit_that_is_not_set_is_none(reply, wanted):
    async with over(service(organization__spend_limit=reply)) as client:
        found = await read_spend_limits(client)
    assert (found.organization, found.notices) == (wanted, ())


async def test_what_the_key_may_not_read_is_told_once():
    scopes = refusal(message="Missing scopes: api.management.read.")
    answers = service(spend_limit=(403, scopes))
    async with over(answers) as client:
        client.limiter.maximum = 1
        found = await read_spend_limits(client, [f"proj_{n}" for n in range(9)])
    assert (found.organization, found.projects) == (None, {})
    assert found.notices == (
        (
            "the spend limit of the organization and of 9 more was not read: the key lacks"
            " api.management.read (403)"
        ),
    )
    assert len(answers.asked) == 2
    async with over(service(organization__spend_limit=(403, refusal()))) as client:
        found = await read_spend_limits(client)
    assert found.notices[0].endswith("was not read: the key may not read it (403)")


async def test_a_failure_leaves_only_its_own_limit_out():
    answers = service(proj_1__spend_limit=(400, refusal()), proj_2__spend_limit=(200, b"[1]"))
    async with over(answers) as client:
        found = await read_spend_limits(client, ["proj_1", "proj_2", "proj_3"])
    assert list(found.projects) == ["proj_3"]
    assert found.notices[0] == (
        "the spend limit of proj_1 was not read: the service refuses it (400)"
    )
    assert found.notices[1].startswith("the spend limit of proj_2 was not read: not a spend limit")


async def test_limits_alone_that_the_key_is_wrong_for_are_told():
    answers = service(organization__spend_limit=(401, refusal()))
    async with over(answers) as client:
        found = await read_spend_limits(client, ["proj_1"])
    assert list(found.projects) == ["proj_1"]
    assert found.notices == (
        "the spend limit of the organization was not read: the service refuses it (401)",
    )


async def test_no_text_of_a_limit_holds_the_key():
    body = {**LIMIT, "currency": KEY, "interval": KEY, "enforcement": {"status": KEY}}
    async with over(service(spend_limit=(200, body)), admin_key=KEY) as client:
        found = await read_spend_limits(client)
    assert KEY not in repr(found)
    assert KEY.lower() not in repr(found)


async def test_a_scope_reads_the_limits_of_its_projects_only():
    answers = service(proj_1__spend_limit=(400, refusal(message="of proj_9")))
    async with over(answers) as client:
        scoped = client.scoped(project_ids=["proj_1", "proj_2"])
        found = await read_spend_limits(scoped, ["proj_1", "proj_2"])
        with pytest.raises(ScopeError, match="'proj_3': outside of the scope"):
            await read_spend_limits(scoped, ["proj_3"])
    assert (found.organization, list(found.projects)) == (None, ["proj_2"])
    assert "proj_9" not in repr(found)
    assert not any(path == "/organization/spend_limit" for path in answers.asked)


async def test_the_emulator_serves_limits():
    async with Emulator() as server, client_of(server) as client:
        projects = [project.id for project in server.organization.projects]
        found = await read_spend_limits(client, [*projects, "proj_none"])
        assert found.organization == SpendLimit(threshold_amount=700_000, enforcement="enforcing")
        named = {project.id: project.name for project in server.organization.projects}
        assert {named[one]: limit.amount for one, limit in found.projects.items()} == {
            "Support assistant": 2200,
            "Research": 600,
        }
        server.quirks = Quirks(refuse_names=True)
        found = await read_spend_limits(client, projects)
        assert found.organization is None
        assert "api.management.read" in found.notices[0]


def test_a_reply_is_read_when_it_comes():
    assert LimitDecoder().probe(b"", NO_KEY) is None
