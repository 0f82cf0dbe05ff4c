"""Read last month's spend by project and model, print it, and write it to a spreadsheet."""

from usage_async import UsageClient
from usage_async.report import read_report, write_report


async def spend_of_last_month(file: str) -> None:
    async with UsageClient() as client:
        report = await read_report(client, "last-month", by="project,model", compare=True)
    for spend in report.spends:
        for project in spend.groups:
            print(project.name or project.id, project.amount, spend.currency)
            for model in project.parts:
                print("   ", model.id, model.amount)
    await write_report(report, file)
