"""Requests, counted and timed with prometheus-client."""

from prometheus_client import Counter, Histogram

from usage_async import RequestEvent, UsageClient

REQUESTS = Counter("openai_usage_requests", "Requests for usage", ["path", "outcome"])
SECONDS = Histogram("openai_usage_request_seconds", "Duration of these requests", ["path"])


def count(event: RequestEvent) -> None:
    REQUESTS.labels(event.path, event.error or event.status).inc()
    SECONDS.labels(event.path).observe(event.seconds)


client = UsageClient(trace=count)
