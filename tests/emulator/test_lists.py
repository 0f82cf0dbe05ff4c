from __future__ import annotations

import pytest
from asking import (
    COMPLETIONS,
    COSTS,
    DAY,
    MIDNIGHT,
    NOW,
    ORGANIZATION,
    Asker,
    emulator,
    rows_of,
)

from usage_async.emulator import Emulator, Organization, Quirks


@pytest.mark.parametrize("limit", ["0", "101", "-1", "x", "9" * 5000, "1_0", "\u0663"])
async def test_a_limit_of_a_list_that_is_out_of_bounds_is_refused(limit: str, ask: Asker) -> None:
    async with emulator() as server:
        reply = await ask(server, "/organization/projects", [("limit", limit)])
    assert (reply.status, reply.json["error"]["param"]) == (400, "limit")


@pytest.mark.parametrize("quirks", [Quirks(), Quirks(hide_enabled_keys=True)])
async def test_keys_are_listed_by_the_access_of_their_owners(quirks: Quirks, ask: Asker) -> None:
    active = next(p for p in ORGANIZATION.projects if not p.archived)
    archived = next(p for p in ORGANIZATION.projects if p.archived)
    listed = {}
    async with emulator(quirks=quirks) as server:
        for project in (active, archived):
            path = f"/organization/projects/{project.id}/api_keys"
            for access in (None, "any", "active", "inactive"):
                params = [("owner_project_access", access)] if access else []
                reply = await ask(server, path, params)
                listed[project, access] = [key["name"] for key in reply.json["data"]]
        wrong = await ask(server, path, [("owner_project_access", "all")])
    live = ["production", "staging"]
    assert [listed[active, a] for a in ("any", "active", "inactive")] == [live, live, []]
    assert [listed[archived, a] for a in ("any", "active", "inactive")] == [["demo"], [], ["demo"]]
    assert listed[active, None] == ([] if quirks.hide_enabled_keys else live)
    assert listed[archived, None] == ["demo"]
    assert (wrong.status, wrong.json["error"]["param"]) == (400, "owner_project_access")


async def test_names_are_listed(ask: Asker) -> None:
    async with emulator() as server:
        projects = await ask(server, "/organization/projects")
        everything = await ask(server, "/organization/projects", [("include_archived", "true")])
        users = await ask(server, "/organization/users", [("limit", 100)])
        project_id = projects.json["data"][0]["id"]
        keys = await ask(server, f"/organization/projects/{project_id}/api_keys")
        missing = await ask(server, "/organization/projects/proj_none/api_keys")
    assert len(everything.json["data"]) == len(projects.json["data"]) + 1
    assert everything.json["data"][-1]["status"] == "archived"
    assert {user["email"] for user in users.json["data"]} >= {"ada@example.com"}
    assert [key["name"] for key in keys.json["data"]] == ["production", "staging"]
    assert missing.status == 404
    deleted = [key for key in ORGANIZATION.keys if key.deleted]
    assert deleted[0].project.id == project_id


async def test_lists_are_paged(ask: Asker) -> None:
    async with emulator() as server:
        first = await ask(server, "/organization/users", [("limit", 5)])
        after = ("after", first.json["last_id"])
        last = await ask(server, "/organization/users", [("limit", 5), after])
        refused = [
            await ask(server, "/organization/users", [params])
            for params in (("limit", 101), ("after", "user-none"), ("color", "red"))
        ]
    names = [user["name"] for page in (first, last) for user in page.json["data"]]
    assert names == [user.name for user in ORGANIZATION.users]
    assert (first.json["has_more"], last.json["has_more"]) == (True, False)
    assert [reply.status for reply in refused] == [400, 400, 400]


async def test_an_api_key_can_belong_to_a_service_account(ask: Asker) -> None:
    project = next(p for p in ORGANIZATION.projects if p.name == "Data pipeline")
    start = [("start_time", MIDNIGHT - 7 * DAY)]
    async with emulator() as server:
        keys = await ask(server, f"/organization/projects/{project.id}/api_keys")
        accounts = await ask(server, f"/organization/projects/{project.id}/service_accounts")
        users = await ask(server, "/organization/users", [("limit", 100)])
        usage = await ask(server, COMPLETIONS, [*start, ("group_by", "user_id")])
        costs = await ask(server, COSTS, [*start, ("group_by", "user_id")])
    owner = next(key["owner"] for key in keys.json["data"] if "service" in key["owner"]["type"])
    assert "user" not in owner
    account = owner["service_account"]
    assert accounts.json["data"] == [account]
    assert account["id"] not in {user["id"] for user in users.json["data"]}
    assert account["id"] in {row["user_id"] for row in rows_of([usage.json])}
    billed = [row for row in rows_of([costs.json]) if row["user_id"] == account["id"]]
    assert billed
    assert not any(row.get("user_email") for row in billed)


async def test_a_list_can_lack_its_first_and_last_id(ask: Asker) -> None:
    async with emulator() as server:
        listed = await ask(server, "/organization/admin_api_keys", [("order", "desc")])
        wrong = await ask(server, "/organization/admin_api_keys", [("order", "up")])
    assert list(listed.json) == ["object", "data", "has_more"]
    assert [key["object"] for key in listed.json["data"]] == ["organization.admin_api_key"]
    assert server.admin_key.encode() not in listed.body
    assert wrong.status == 400


@pytest.mark.parametrize("name", ["projects", "users", "projects/proj_1/api_keys"])
async def test_a_key_that_may_not_read_names_still_reads_usage(name: str, ask: Asker) -> None:
    async with emulator(quirks=Quirks(refuse_names=True)) as server:
        listed = await ask(server, f"/organization/{name}")
        usage = await ask(server, COMPLETIONS, [("start_time", MIDNIGHT)])
    assert (listed.status, usage.status) == (403, 200)
    assert "Missing scopes: api.management.read" in listed.json["error"]


async def test_idle_projects_have_keys_and_no_usage(ask: Asker) -> None:
    large = Organization(0, idle_projects=3)
    groups = [("group_by", "project_id"), ("group_by", "api_key_id")]
    params = [("start_time", MIDNIGHT - 7 * DAY), *groups]
    async with Emulator(large, now=lambda: NOW) as server, emulator() as plain:
        projects = await ask(server, "/organization/projects", [("limit", 100)])
        path = f"/organization/projects/{large.projects[-1].id}/api_keys"
        keys = await ask(server, path, [("limit", 100)])
        usage, same = [await ask(each, COMPLETIONS, params) for each in (server, plain)]
    names = [project["name"] for project in projects.json["data"]]
    assert names[-3:] == ["Idle project 1", "Idle project 2", "Idle project 3"]
    assert len({key["id"] for key in keys.json["data"]}) == 10
    assert rows_of([usage.json]) == rows_of([same.json])


async def test_a_spend_limit_takes_no_parameters(ask: Asker) -> None:
    async with emulator() as server:
        limit = await ask(server, "/organization/spend_limit")
        refused = await ask(server, "/organization/spend_limit", [("limit", "5")])
    assert limit.json["object"] == "organization.spend_limit"
    assert (refused.status, refused.json["error"]["param"]) == (400, "limit")
