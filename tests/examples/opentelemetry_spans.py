"""An OpenTelemetry span for each request."""

from opentelemetry import trace

from usage_async import RequestEvent, UsageClient


def span(event: RequestEvent) -> None:
    start, end = (int(at * 1e9) for at in (event.ended_at - event.seconds, event.ended_at))
    span = trace.get_tracer("usage_async").start_span(f"GET {event.path}", start_time=start)
    span.set_attribute("http.response.status_code", event.status or 0)
    span.set_attribute("http.request.resend_count", event.attempt - 1)
    if event.error:
        span.set_status(trace.StatusCode.ERROR, event.error)
    span.end(end_time=end)


client = UsageClient(trace=span)
