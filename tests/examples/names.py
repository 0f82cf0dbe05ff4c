"""Who spent what, by name; the ids stay beside the names, since two things may have one name."""

from usage_async import UsageClient


async def keys_by_name() -> list[str]:
    async with UsageClient() as client:
        query = client.completions(period="7d", group_by=["project_id", "api_key_id"])
        rows = await query.totals()
        names = await client.names_for(rows)  # one list of projects, and keys of these projects
    return [
        f"{names.label('project_id', row.project_id)}: {names.label('api_key_id', row.api_key_id)}"
        f" ({row.api_key_id}) {row.input_tokens}"
        for row in rows
    ]
