"""
``gateway demo``: a gateway with agents, the upstream that they call, and a story, in one process.

The workers of the fourth agent run in processes of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.app.build import frontend_dir
from gateway.app.demo.agents import PROMPTS, SCHEDULES, declare
from gateway.app.demo.clients import async_client, plain_client
from gateway.app.demo.crew import Crew
from gateway.app.demo.faults import Plan
from gateway.app.demo.pauses import Pauses
from gateway.app.demo.rush import Rush
from gateway.app.demo.story import Story
from gateway.app.demo.upstream import Upstream
from gateway.app.gateway import Gateway
from gateway.app.serve import require_secret, serve
from gateway.domain.errors import (
    AddressUnavailable,
    ConfigurationError,
    Conflict,
    InvalidParams,
    RequestError,
)
from gateway.domain.settings import Settings
from gateway.protocol.strict_json import BadJson, parse_json
from gateway.transports.pages import page_routes
from gateway.transports.problem import problem_of
from gateway.transports.requests import body_of
from gateway.transports.server import bind

__all__ = ["serve_demo"]

DEFAULT_PORT = 8000
BODY_BYTES_MAX = 4096

# Waits of seconds, not of milliseconds and not of minutes, so that a person can follow. `pace`
# shortens the pauses among them; it does not shorten limits on how long something may take.
SETTINGS = Settings(
    breaker_threshold=3,
    breaker_cooldown=8.0,
    retry_base=1.5,
    retry_max=6.0,
    heartbeat_timeout=3.0,
    offline_after=9.0,
    # So small that a crowd fills it, and that it is worked off while a person watches.
    queue_limit=200,
    # The crowd alone degrades it, and not the browser and all else that this machine is busy with.
    degraded_lag=0.0,
    degraded_cpu=0.0,
    degraded_memory=0.0,
    drain_grace=3.0,
)


async def serve_demo(
    *, host: str, port: int, pace: float = 1.0, say: Callable[[str], object]
) -> None:
    """
    Serve the demonstration until SIGTERM or SIGINT.

    Every process on this machine may use it. It reads no settings from the environment.

    Args:
        host: A loopback address.
        port: The port; 0 takes a free one, and so does the default port when it is taken.
        pace: Every pause is divided by it: of the story, of the model, of a breaker and between
            attempts. 1 is for a person who watches. Which calls fail does not depend on it.
        say: Called with each line for the terminal; the first is ``ready http://HOST:PORT``.

    Raises:
        ConfigurationError: If the address cannot be bound, or other machines could reach it.
    """
    gateway = Gateway(_settings(pace))
    try:
        require_secret(gateway, host)
    except ConfigurationError as error:
        raise ConfigurationError(
            f"the demo has no secret and serves this machine only, not {host}: use --host 127.0.0.1"
        ) from error
    chosen = _free_port(host, port)

    def ready(url: str) -> None:
        say(f"ready {url}")
        if chosen != port:
            say(f"Port {port} is taken by somebody else, so this one is.")
        say("Open that address in a browser: the story begins when you look.")
        say("Three agents work there with a model that really fails; choose how. A fourth has")
        say("processes of its own; kill one while it works. A fifth, the clerk, has no model, and")
        say("is there to be overloaded. Ctrl-C ends it all.")
        crew.begin(url)

    async with contextlib.AsyncExitStack() as stack:
        plan = Plan(SCHEDULES)
        pauses = Pauses(gateway.engine.clock, pace=pace)
        upstream = Upstream(plan, gateway.engine.clock, pauses)
        await stack.enter_async_context(upstream.running())
        crew = Crew(upstream.base_url)
        model = await stack.enter_async_context(async_client(upstream.base_url))
        plain_model = stack.enter_context(plain_client(upstream.base_url))
        declare(gateway, model=model, plain_model=plain_model)
        rush = Rush(gateway, pauses)
        page = page_routes(frontend_dir(), demo=True)
        app = gateway.make_app(extra_routes=[*_routes(plan, crew, rush, gateway), *page])
        await stack.enter_async_context(crew.running())
        hub = app.state.hub
        breakers = gateway.engine.parts.state.breakers
        story = Story(
            gateway,
            plan,
            pauses,
            # Workers are connected, too, but they follow no topic.
            watched=lambda: not hub.draining and any(one.topics for one in hub.followers),
            calm=lambda: all(breaker.state == "closed" for breaker in breakers.values()),
        )
        playing = asyncio.create_task(story.play(), name="story")
        try:
            await serve(gateway, host=host, port=chosen, app=app, ready=ready)
        finally:
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)


def _settings(pace: float) -> Settings:
    return dataclasses.replace(
        SETTINGS,
        breaker_cooldown=SETTINGS.breaker_cooldown / pace,
        retry_base=SETTINGS.retry_base / pace,
        retry_max=SETTINGS.retry_max / pace,
        mode_period=SETTINGS.mode_period / pace,
    )


def _free_port(host: str, port: int) -> int:
    """Give ``port``, or 0 when it is the default and taken; another port is a user's choice."""
    if port == DEFAULT_PORT:
        try:
            bind(host, port).close()
        except AddressUnavailable:
            return 0
    return port


# --- for the page -----------------------------------------------------------------------------


def _routes(plan: Plan, crew: Crew, rush: Rush, gateway: Gateway) -> list[Route]:
    async def show_upstream(request: Request) -> Response:
        return _json(plan.as_dict())

    async def set_upstream(request: Request) -> Response:
        try:
            plan.choose(await _mode_of(request))
        except RequestError as error:
            return problem_of(error)
        return _json(plan.as_dict())

    async def list_agents(request: Request) -> Response:
        return _json({"items": [dataclasses.asdict(prompt) for prompt in PROMPTS]})

    async def kill_worker(request: Request) -> Response:
        try:
            pid = crew.kill(
                busy=lambda agent_id: bool(gateway.engine.parts.state.held_by(agent_id))
            )
        except Conflict as error:
            return problem_of(error)
        return _json({"killed": pid})

    async def overload(request: Request) -> Response:
        try:
            return _json(await rush.run())
        except Conflict as error:
            return problem_of(error)

    return [
        Route("/demo/upstream", show_upstream, methods=["GET"]),
        Route("/demo/upstream", set_upstream, methods=["PUT"]),
        Route("/demo/agents", list_agents, methods=["GET"]),
        Route("/demo/workers/kill", kill_worker, methods=["POST"]),
        Route("/demo/overload", overload, methods=["POST"]),
    ]


async def _mode_of(request: Request) -> str:
    try:
        given = parse_json(await body_of(request, bytes_max=BODY_BYTES_MAX))
    except BadJson as error:
        raise InvalidParams(f"the body is refused: {error}", code="parse_error") from None
    if not isinstance(given, dict) or set(given) != {"mode"}:
        raise InvalidParams('the body has to be {"mode": …} and nothing else', field="mode")
    if not isinstance(given["mode"], str):
        raise InvalidParams("mode has to be a text", field="mode")
    return given["mode"]


def _json(value: Any) -> Response:
    headers = {"cache-control": "no-store"}
    return Response(orjson.dumps(value), headers=headers, media_type="application/json")
