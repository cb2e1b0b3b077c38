"""How commands end: an error of ours is one sentence and an exit code, without a traceback."""

from __future__ import annotations

from typing import Any

import click

from gateway.domain.errors import ConfigurationError, GatewayError, StoreNotThere
from gateway.domain.redaction import redact_text

__all__ = ["Commands"]


class Commands(click.Group):
    """Lists commands in the order of their declaration, and shows our errors without traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except StoreNotThere as error:
            # Nothing is wrong with the command.
            raise click.ClickException(redact_text(str(error))) from error
        except ConfigurationError as error:
            raise click.UsageError(redact_text(str(error))) from error
        except GatewayError as error:
            raise click.ClickException(redact_text(str(error))) from error
