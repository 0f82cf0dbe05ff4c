from __future__ import annotations

import pytest
from asking import (
    ORGANIZATION,
    Asker,
    emulator,
)

from usage_async.emulator import Quirks


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
