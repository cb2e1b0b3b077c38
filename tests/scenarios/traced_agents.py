"""
Agents whose attempts are traced, each span written to the file that SPANS names, as JSON.

Run by ``gateway serve`` and ``gateway work`` with ``tests.scenarios.traced_agents:gateway``.
"""

from __future__ import annotations

import os

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from gateway import Gateway, Task
from gateway.errors import RateLimited

out = open(os.environ["SPANS"], "a", buffering=1)  # noqa: SIM115 - it is open as long as the process
provider = TracerProvider()
provider.add_span_processor(
    SimpleSpanProcessor(
        ConsoleSpanExporter(out=out, formatter=lambda span: span.to_json(indent=None) + "\n")
    )
)
trace.set_tracer_provider(provider)

gateway = Gateway()


@gateway.agent("traced", max_attempts=2)
async def answer(task: Task, question: str) -> str:
    """Fail at first; what is done in an attempt stands below it."""
    with trace.get_tracer("agent").start_as_current_span("call the model"):
        if task.attempt == 1:
            raise RateLimited(retry_after=0.05)
        return question


@gateway.agent("plain", max_attempts=1)
def answer_in_a_thread(task: Task, question: str) -> str:
    """The same in a thread."""
    with trace.get_tracer("agent").start_as_current_span("call the model"):
        return question
