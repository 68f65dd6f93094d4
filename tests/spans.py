"""What was recorded of OpenTelemetry, by its SDK's in-memory exporter. Import the fixture by name: only the tests that
need the SDK load it."""

from collections.abc import Callable, Iterator

import pytest
from opentelemetry import trace as api
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

Spans = Callable[[], list[ReadableSpan]]


def provide(monkeypatch: pytest.MonkeyPatch, provider: api.TracerProvider) -> None:
    """As `set_tracer_provider` does, which can be called once in a process; undone with the test, since a provider
    that stays would record what others' tests do."""
    monkeypatch.setattr(api, "_TRACER_PROVIDER", provider)


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spans]:
    """What has been exported so far, in the order in which it ended."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    provide(monkeypatch, provider)
    yield lambda: list(exporter.get_finished_spans())
    provider.shutdown()


def context(span: ReadableSpan) -> api.SpanContext:
    found: api.SpanContext | None = span.context
    assert found is not None
    return found
