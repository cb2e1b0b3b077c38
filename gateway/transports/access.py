"""
Access: turns a bearer token into a caller. An open gateway needs no token.

Tokens are JWTs (RFC 7519): HS256 with the gateway's secret, RS256 and ES256 with keys from a
JWKS file (RFC 7517). Every other algorithm is refused, ``alg: none`` too (RFC 8725, 3.1 and
3.2). Times in a token are compared with the gateway's clock.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jwt

from gateway.domain.access import LOCAL_OPERATOR, OPEN_USER_SCOPES, SCOPES, Caller
from gateway.domain.errors import ConfigurationError, NotPermitted, Unauthenticated
from gateway.domain.names import is_user_id
from gateway.domain.settings import Settings
from gateway.ports import Clock

__all__ = ["Access", "TokenExpired"]

# The clocks of the issuer and of the gateway may differ by this much, in seconds, before a token
# counts as not valid yet (RFC 7519, 4.1.5). Its end is taken exactly, because connections are
# closed at that moment.
LEEWAY_S = 5.0

# What the sub of a token has to match: it becomes the name of a topic.
_KEY_ALGORITHMS = ("RS256", "ES256")


class TokenExpired(Unauthenticated):
    """The token was valid and has expired; the client may try again with a new one."""

    code = "token_expired"


class Access:
    """
    Turns tokens into callers.

    Args:
        settings: ``token_secret`` and ``jwks``.
        clock: What ``exp`` and ``nbf`` are compared with.
        open_gateway: There is no secret; a caller that gives no user id is an operator.

    Raises:
        ConfigurationError: If the JWKS file cannot be used.
    """

    def __init__(self, settings: Settings, clock: Clock, *, open_gateway: bool) -> None:
        self._secret = settings.token_secret
        self._keys = _read_keys(Path(settings.jwks)) if settings.jwks else []
        self._clock = clock
        self.open = open_gateway
        assert open_gateway or self._secret or self._keys

    def caller(self, token: str | None, *, user_id: str | None = None) -> Caller:
        """
        Give the caller with its scopes.

        Args:
            token: The bearer token; None: none was given. An open gateway ignores it.
            user_id: On an open gateway the user to act as; otherwise it has to be the token's
                user. None: on an open gateway an operator, otherwise the token's user.

        Raises:
            Unauthenticated: If there is no token, or one that is not accepted.
            TokenExpired: If the token has expired.
            NotPermitted: If the token belongs to another user than ``user_id``.
        """
        if self.open:
            return (
                LOCAL_OPERATOR
                if user_id is None
                else Caller(user_id, OPEN_USER_SCOPES, played=True)
            )
        if token is None:
            raise Unauthenticated("a token is needed: Authorization: Bearer, or connect's token")
        caller = self._caller_of(self._claims(token))
        if user_id not in (None, caller.user_id):
            raise NotPermitted(
                "the token says who one is, and it is somebody else", field="user_id"
            )
        return caller

    def _claims(self, token: str) -> Mapping[str, Any]:
        try:
            algorithm, key = self._key_for(jwt.get_unverified_header(token))
            claims: Mapping[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                options={
                    "require": ["exp", "sub"],
                    # Compared below, with our clock.
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                    # An identity provider may put an audience into its tokens; the gateway has
                    # no name that could be compared with it.
                    "verify_aud": False,
                },
            )
        except jwt.MissingRequiredClaimError as error:
            raise Unauthenticated(f"the token has no {error.claim}") from None
        except (jwt.PyJWTError, ValueError, TypeError):
            raise Unauthenticated("the token is not valid") from None
        return claims

    def _key_for(self, header: Mapping[str, Any]) -> tuple[str, Any]:
        algorithm = header.get("alg")
        if algorithm == "HS256" and self._secret:
            return algorithm, self._secret
        if algorithm in _KEY_ALGORITHMS:
            for key in self._keys:
                if key.algorithm_name == algorithm and header.get("kid") in (None, key.key_id):
                    return algorithm, key
        raise Unauthenticated("the token's algorithm or key is not accepted here")

    def _caller_of(self, claims: Mapping[str, Any]) -> Caller:
        user_id, scope, now = claims["sub"], claims.get("scope", ""), self._clock.wall()
        expires_at, not_before = claims["exp"], claims.get("nbf", 0)
        if not is_user_id(user_id):
            raise Unauthenticated(
                "the token's sub has to be a user id: 1 to 256 characters, no control characters, "
                "no space at either end, not *"
            )
        if not isinstance(scope, str):
            raise Unauthenticated("the token's scope has to be a string, separated by spaces")
        if not _is_time(expires_at) or not _is_time(not_before):
            raise Unauthenticated("the token's exp and nbf have to be numbers")
        if expires_at <= now:
            raise TokenExpired("the token has expired")
        if not_before > now + LEEWAY_S:
            raise Unauthenticated("the token is not valid yet")
        return Caller(user_id, frozenset(scope.split()) & SCOPES.keys(), float(expires_at))


def _is_time(value: object) -> bool:
    # Below 2**40 seconds, which a date can express. In Python a bool is an int.
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**40


def _read_keys(path: Path) -> list[jwt.PyJWK]:
    try:
        keys = jwt.PyJWKSet.from_dict(json.loads(path.read_bytes())).keys
    except (OSError, ValueError, LookupError, TypeError, AttributeError, jwt.PyJWTError) as error:
        raise ConfigurationError(
            f"jwks: {path} is not a readable JSON Web Key Set ({type(error).__name__})"
        ) from error
    usable = [key for key in keys if key.algorithm_name in _KEY_ALGORITHMS]
    if not usable:
        raise ConfigurationError(f"jwks: {path} has no key for {' or '.join(_KEY_ALGORITHMS)}")
    return usable
