"""A gateway mounted in an application, which a server of several processes starts."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.routing import Mount

from gateway import Gateway

gateway = Gateway()
app = Starlette(routes=[Mount("/agents", gateway.app)], lifespan=gateway.lifespan)
