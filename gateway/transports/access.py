"""
Access: turns a bearer token into a caller. An open gateway needs no token and looks at none.

Tokens are JWTs (RFC 7519): HS256 with the gateway's secret, RS256 and ES256 with a key of its key
set. Every other algorithm is refused, ``alg: none`` too (RFC 8725, 3.1 and 3.2). Times in a token
are compared with the gateway's clock. Why a token is refused stands in the log; who sent it is
told no more than that, and whether another one could help.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, TypeGuard

import jwt
from jwt.algorithms import HMACAlgorithm

from gateway.domain.access import LOCAL_OPERATOR, OPEN_USER_SCOPES, SCOPES, Caller
from gateway.domain.diagnostics import logger_of
from gateway.domain.errors import ConfigurationError, NotPermitted, Unauthenticated
from gateway.domain.names import is_name, is_user_id
from gateway.domain.redaction import quoted
from gateway.domain.settings import Settings
from gateway.ports import Clock
from gateway.transports.keys import KEY_ALGORITHMS, Keys
from gateway.transports.refusals import Refusals

__all__ = ["Access", "TokenExpired"]

# The clocks of the issuer and of the gateway may differ by this much, in seconds, before a token
# counts as not valid yet (RFC 7519, 4.1.5). Its end is taken exactly, because connections are
# closed at that moment.
LEEWAY_S = 5.0

SECRET_ALGORITHM = "HS256"
_HMAC = HMACAlgorithm(HMACAlgorithm.SHA256)
# Where the scope is when no setting says so: of OAuth 2.0 (RFC 8693, 4.2), and of some providers.
_SCOPE_CLAIMS = ("scope", "scp")
# How much of a token's claim a line of the log shows, in characters.
SHOWN_CHARS_MAX = 80

# Tells whether a signature fits a text.
Fits = Callable[[jwt.PyJWK], bool]

logger = logger_of(__name__)


class TokenExpired(Unauthenticated):
    """The token was valid and has expired; the client may try again with a new one."""

    code = "token_expired"


class Access:
    """
    Turns tokens into callers.

    Args:
        settings: The secret and the keys, and what tokens have to say.
        clock: What ``exp`` and ``nbf`` are compared with.
        open_gateway: There is no secret; a caller that gives no user id is an operator.
        refused: Takes in each token that is not accepted, by one of a few reasons.

    Raises:
        ConfigurationError: If the secret or the file of keys cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        *,
        open_gateway: bool,
        refused: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self._settings = settings
        self._secret = _prepared(settings.token_secret)
        self._keys = Keys(settings.jwks, clock) if settings.jwks else None
        self._clock = clock
        self._refusals = Refusals(refused)
        self.open = open_gateway
        assert open_gateway or self._secret or self._keys

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the keys up to date while inside."""
        if self._keys is None:
            yield
            return
        settings = self._settings
        if not (settings.token_audience and settings.token_issuer):
            logger.warning(
                "token_audience and token_issuer are not both set: tokens that the same sign-in "
                "issues for other applications are taken, too"
            )
        async with self._keys.running():
            yield

    async def caller(self, token: str | None, *, user_id: str | None = None) -> Caller:
        """
        Give the caller with its scopes; waits only for a key that is not known.

        Args:
            token: The bearer token; None: none was given. An open gateway ignores it.
            user_id: On an open gateway the user to act as; otherwise it has to be the token's
                user. None: on an open gateway an operator, otherwise the token's user.

        Raises:
            Unauthenticated: If there is no token, or one that is not accepted.
            TokenExpired: If the token has expired.
            NotPermitted: If the token belongs to another user than ``user_id``.
            Unavailable: If it cannot be known now whether there is a key for the token.
        """
        if self.open:
            return (
                LOCAL_OPERATOR
                if user_id is None
                else Caller(user_id, OPEN_USER_SCOPES, played=True)
            )
        if token is None:
            raise Unauthenticated("a token is needed: Authorization: Bearer, or connect's token")
        try:
            caller = self._caller_of(await self._claims(token))
        except _Expired:
            self._refusals.tell("it has expired", "", level=logging.INFO)
            raise TokenExpired("the token has expired") from None
        except _Refused as refused:
            self._refusals.tell(refused.reason, refused.about)
            raise Unauthenticated("the token is not accepted; the gateway's log says why") from None
        if user_id not in (None, caller.user_id):
            raise NotPermitted(
                "the token says who one is, and it is somebody else", field="user_id"
            )
        return caller

    # --- its signature ------------------------------------------------------------------------

    async def _claims(self, token: str) -> Mapping[str, Any]:
        """Give the claims of a token whose signature is good."""
        try:
            # Its parts are read once, however many keys are tried. Nothing is believed yet.
            parts = jwt.decode_complete(token, options={"verify_signature": False})
        except (jwt.PyJWTError, ValueError):
            raise _Refused("it is no JWT") from None
        header: Mapping[str, Any] = parts["header"]
        claims: Mapping[str, Any] = parts["payload"]
        signed, signature = token.rpartition(".")[0].encode(), parts["signature"]
        if "crit" in header:
            # None of these extensions is understood here (RFC 7515, 4.1.11).
            raise _Refused("it has a critical extension", _shown(header["crit"]))
        algorithm = header.get("alg")
        if algorithm == SECRET_ALGORITHM:
            if self._secret is None:
                raise _Refused("there is no token_secret for HS256")
            if not _HMAC.verify(signed, self._secret, signature):
                raise _Refused("it is signed with another secret")
        elif algorithm in KEY_ALGORITHMS:
            if self._keys is None:
                raise _Refused("there is no jwks for RS256 and ES256")
            await self._require_key(
                self._keys,
                algorithm,
                header.get("kid"),
                fits=lambda key: key.Algorithm.verify(signed, key.key, signature),
                issued_at=claims.get("iat"),
            )
        else:
            raise _Refused("its algorithm is not HS256, RS256 or ES256", _shown(algorithm))
        return claims

    async def _require_key(
        self, keys: Keys, algorithm: str, name: str | None, *, fits: Fits, issued_at: object
    ) -> None:
        """Find a key that the signature fits, if need be in the set as it is now."""
        found = keys.fitting(algorithm, name)
        if any(map(fits, found)):
            return
        if found and name is not None:
            raise _Refused("its signature does not fit the key that it names", _shown(name))
        await keys.look_again()
        if any(map(fits, keys.fitting(algorithm, name))):
            return
        keys.require_certain(issued_at=issued_at if _is_time(issued_at) else -math.inf)
        raise _Refused("none of the keys fits it", f"kid {_shown(name)}")

    # --- what it says -------------------------------------------------------------------------

    def _caller_of(self, claims: Mapping[str, Any]) -> Caller:
        settings, now = self._settings, self._clock.wall()
        issuer, audience = settings.token_issuer, settings.token_audience
        if issuer and claims.get("iss") != issuer:
            raise _Refused("its iss is not token_issuer", _shown(claims.get("iss")))
        if audience and audience not in _listed(claims.get("aud")):
            raise _Refused("its aud has no token_audience", _shown(claims.get("aud")))
        expires_at, not_before = claims.get("exp"), claims.get("nbf", 0)
        if not _is_time(expires_at):
            raise _Refused("its exp is missing or no time", _shown(expires_at))
        if not _is_time(not_before):
            raise _Refused("its nbf is no time", _shown(not_before))
        if expires_at <= now:
            raise _Expired
        if not_before > now + LEEWAY_S:
            raise _Refused("it is not valid yet", f"for {not_before - now:.0f} s")
        user_id = claims.get(settings.token_user_claim)
        if not is_user_id(user_id):
            raise _Refused(
                f"its {_shown(settings.token_user_claim)} is no user id: 1 to 256 characters, no "
                "control characters, no space at either end, not *",
                _shown(user_id),
            )
        return Caller(
            user_id,
            self._scopes_of(claims),
            float(expires_at),
            agents=_names_of(claims, "agents"),
            channels=_names_of(claims, "channels"),
        )

    def _scopes_of(self, claims: Mapping[str, Any]) -> frozenset[str]:
        named = self._settings.token_scope_claim
        for claim in (named,) if named else _SCOPE_CLAIMS:
            if claims.get(claim) is not None:
                words = _words(claims[claim])
                if words is None:
                    raise _Refused("its scope is no string and no list of strings", _shown(claim))
                return frozenset(words) & SCOPES.keys()
        return frozenset()


class _Refused(Exception):
    """
    A token is not accepted.

    Attributes:
        reason: One of a few sentences, for the log.
        about: What was found instead.
    """

    def __init__(self, reason: str, about: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.about = about


class _Expired(Exception):
    """A token was good, and has expired."""


def _prepared(secret: str) -> bytes | None:
    if not secret:
        return None
    try:
        return _HMAC.prepare_key(secret)
    except jwt.PyJWTError as error:
        # Everybody knows a public key, and could sign with it (RFC 8725, 2.1).
        raise ConfigurationError(
            "token_secret is a key or a certificate, which others may know; give a public key as "
            "jwks, and a secret that is made of random characters"
        ) from error


def _is_time(value: object) -> TypeGuard[float]:
    # Below 2**40 seconds, which a date can express. In Python a bool is an int.
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**40


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _words(value: object) -> list[str] | None:
    """Read a claim that is a string, separated by spaces, or a list of strings; None: neither."""
    # By spaces alone (RFC 6749, 3.3): what its issuer takes for one word is not two here.
    words = [word for word in value.split(" ") if word] if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        return None
    return words


def _names_of(claims: Mapping[str, Any], claim: str) -> frozenset[str] | None:
    """Read a claim that narrows; None: it is not there. One that cannot be read opens nothing."""
    if claims.get(claim) is None:
        return None
    names = _words(claims[claim])
    if names is None or not all(map(is_name, names)):
        raise _Refused(f"its {claim} is no list of names", _shown(claims[claim]))
    return frozenset(names)


def _shown(value: object) -> str:
    # What came from outside is not to write lines of its own into a log.
    return quoted(value, chars_max=SHOWN_CHARS_MAX)
