"""
Spans: each attempt as a span of OpenTelemetry, below the caller's own.

Names and attributes are those of its semantic conventions: ``invoke_agent`` with ``gen_ai.*``,
and ``error.type`` with the class of the failure. What the agent's code traces itself, such as its
calls of a model, stands below the attempt. Without the extra ``otel``, or where nothing in the
process has set up the SDK (``opentelemetry-instrument`` does), nothing is recorded.

Source: OpenTelemetry semantic conventions for generative AI agents; W3C Trace Context.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from gateway.attempts.assignment import Assignment
from gateway.domain.failure import Failure

try:
    from opentelemetry import trace
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError:
    INSTALLED = False
else:
    INSTALLED = True

__all__ = ["Span", "current_traceparent", "spanned"]

TRACER = "gateway"


class Span:
    """
    The span of one attempt.

    Args:
        span: OpenTelemetry's; None: nothing is recorded.
    """

    def __init__(self, span: Any = None) -> None:
        self._span = span

    def failed(self, failure: Failure) -> None:
        """Mark it as failed; an attempt that its caller cancelled has not failed."""
        if self._span is None or failure.error_type == "cancelled":
            return
        self._span.set_attribute("error.type", failure.error_type)
        self._span.set_attribute("gateway.error_code", failure.error_code)
        self._span.set_status(trace.StatusCode.ERROR, failure.error_code)


@contextlib.contextmanager
def spanned(assignment: Assignment, *, mode: str, here: bool = False) -> Iterator[Span]:
    """
    Trace an attempt until the block ends.

    Args:
        mode: ``primary`` or ``fallback``.
        here: Whether it is made where its caller is, whose span is above it then; else only the
            span that the task names can be.
    """
    if not INSTALLED:
        yield Span()
        return
    above = None if here else Context()
    if assignment.traceparent is not None:
        carrier = {"traceparent": assignment.traceparent}
        above = TraceContextTextMapPropagator().extract(carrier, context=above)
    attributes: dict[str, str | int] = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": assignment.agent_name,
        "gateway.task_id": assignment.task_id,
        "gateway.attempt": assignment.attempt,
        "gateway.mode": mode,
    }
    with trace.get_tracer(TRACER).start_as_current_span(
        f"invoke_agent {assignment.agent_name}".rstrip(),
        context=above,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        yield Span(span)


def current_traceparent() -> str | None:
    """Name the span that the caller is in, as W3C Trace Context does; None: it is in none."""
    if not INSTALLED:
        return None
    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")
