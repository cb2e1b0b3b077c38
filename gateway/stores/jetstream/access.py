"""
How a server and we know each other: credentials, an authority, a certificate of our own.

They are files, and each new connection reads them again, so that they may be replaced while the
gateway runs. What is wrong with one is said with the name of its setting, and never with what is
in it.
"""

from __future__ import annotations

import dataclasses
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nkeys
from nats.aio.client import RawCredentials

from gateway.domain.errors import ConfigurationError
from gateway.stores.jetstream.address import login_of, without_secrets

__all__ = ["NO_ACCESS", "Access", "nats_options", "refusal"]

# Of a file with credentials, in bytes: a user's JWT has some hundred, with many permissions more.
_FILE_BYTES_MAX = 64 * 1024

_SEED = re.compile(r"SU[A-Z2-7]{56}")
_JWT = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+")

# Codes of OpenSSL (X509_V_ERR_…) for a certificate that is trusted, yet not now, or not here.
_NOT_NOW = (9, 10)
_NOT_HERE = (62, 64)


@dataclasses.dataclass(frozen=True, slots=True)
class Access:
    """
    Names of files; empty: none.

    Attributes:
        credentials: Who we are: a .creds file (a user's JWT and seed), or an NKey seed alone.
        ca: The authorities that a server's certificate may be of, as PEM; none: the system's.
        cert: A certificate of our own, with its chain, as PEM.
        key: Its key; none: it is in the same file.
    """

    credentials: str = ""
    ca: str = ""
    cert: str = ""
    key: str = ""


NO_ACCESS = Access()


def nats_options(url: str, access: Access) -> dict[str, Any]:
    """
    Read the files, and give what nats-py has to know for a connection to ``url``; this waits.

    ``tls`` is there when nothing may be said to the server without TLS.

    Raises:
        ConfigurationError: If a file cannot be read, or is not what its setting says.
    """
    login = login_of(url)
    options: dict[str, Any] = login._asdict()
    if access.credentials:
        if login.user is not None:
            raise ConfigurationError(
                "store_credentials and a user in the store's address are both given; give one"
            )
        options |= _credentials(access.credentials)
    if url.startswith("tls://") or access.ca or access.cert:
        options["tls"] = _context(access)
    return options


def refusal(
    error: BaseException, url: str, access: Access, info: Mapping[str, Any]
) -> ConfigurationError | None:
    """
    Say why a server and we do not accept each other; None: ``error`` does not come from that.

    Args:
        error: How connecting failed.
        info: What the server said of itself, as far as it came to that.
    """
    where = f"the store at {without_secrets(url)}"
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return None  # it went away meanwhile
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConfigurationError(
            f"{where} has a certificate that is not accepted ({error.verify_message}); "
            + _remedy(error.verify_code, access)
        )
    if isinstance(error, ssl.SSLError | ConnectionError) and info.get("tls_verify"):
        # After the handshake: it is the server that says no, and sometimes only by hanging up.
        if not access.cert:
            return ConfigurationError(
                f"{where} asks for a certificate, and none is set; set store_cert and store_key"
            )
        return ConfigurationError(
            f"{where} does not accept the certificate {access.cert}; set store_cert to one of an "
            "authority that it knows"
        )
    if isinstance(error, ssl.SSLError):
        return ConfigurationError(
            f"{where} and the gateway find no way to speak TLS ({error.reason}); see its log"
        )
    if "authorization" in str(error).lower():
        return ConfigurationError(_unauthorized(where, url, access))
    return None


def _unauthorized(where: str, url: str, access: Access) -> str:
    if access.credentials:
        return (
            f"{where} does not accept the credentials in {access.credentials}; set "
            "store_credentials to those of a user that it knows"
        )
    if any(login_of(url)):
        return (
            f"{where} does not accept these credentials; put the right user and password into its "
            "address (store), or set store_credentials"
        )
    return (
        f"{where} asks for credentials, and none are set; set store_credentials to a .creds file "
        "or an NKey seed, or put user and password into its address (store)"
    )


def _remedy(code: int, access: Access) -> str:
    if code in _NOT_NOW:
        return "renew it, or set this machine's clock"
    if code in _NOT_HERE:
        return "name the server in its address (store) as its certificate does"
    if access.ca:
        return f"set store_ca to its authority's certificate, {access.ca} is not that"
    return "set store_ca to its authority's certificate"


def _credentials(path: str) -> dict[str, Any]:
    """Read a .creds file or an NKey seed; what is in it tells which it is."""
    try:
        text = _read("store_credentials", path).decode()
    except UnicodeDecodeError:
        text = ""
    jwt, seed = _between(text, "NATS USER JWT"), _between(text, "USER NKEY SEED")
    alone = "" if "-----" in text else text.strip()
    if not _is_seed(alone or seed) or not (alone or _JWT.fullmatch(jwt)):
        raise ConfigurationError(
            f"the file {path} of store_credentials is neither a .creds file nor the NKey seed of a "
            "user (SU…); name one of these"
        )
    if alone:
        return {"nkeys_seed_str": alone}
    # Written anew: nats-py takes one way of line breaks, and looks for ever for what is missing.
    creds = (
        f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
    return {"user_credentials": RawCredentials(creds)}


def _between(text: str, name: str) -> str:
    """Give the one word between two lines of dashes with that name; empty: it is not so."""
    _, _, rest = text.partition(f"BEGIN {name}-")
    inside, end, _ = rest.partition(f"END {name}-")
    words = [word for word in inside.split() if word.strip("-")]
    return words[0] if end and len(words) == 1 else ""


def _is_seed(text: str) -> bool:
    if not _SEED.fullmatch(text):
        return False
    try:
        nkeys.from_seed(bytearray(text.encode()))
    except (nkeys.NkeysError, ValueError):
        return False
    return True


def _context(access: Access) -> ssl.SSLContext:
    def ask() -> str:
        # Else OpenSSL would ask at the terminal, and a service would wait for ever.
        raise ConfigurationError("store_key is encrypted; give a key without a passphrase")

    names = {"store_ca": access.ca, "store_cert": access.cert, "store_key": access.key}
    for name, path in names.items():
        if path:
            _read(name, path)
    try:
        context = ssl.create_default_context(cafile=access.ca or None)
    except ssl.SSLError as error:
        raise ConfigurationError(
            f"the file {access.ca} of store_ca holds no certificates; name one with some, as PEM"
        ) from error
    if access.cert:
        try:
            context.load_cert_chain(access.cert, access.key or None, password=ask)
        except ssl.SSLError as error:
            raise ConfigurationError(
                f"store_cert and store_key have to be a certificate and its key, as PEM "
                f"({error.reason})"
            ) from error
    return context


def _read(name: str, path: str) -> bytes:
    """Read the beginning of a file; not of a pipe, which might never end."""
    try:
        if Path(path).exists() and not Path(path).is_file():
            raise ConfigurationError(f"what {name} names is no file, {path}; name one")
        with open(path, "rb") as file:
            return file.read(_FILE_BYTES_MAX)
    except OSError as error:
        raise ConfigurationError(
            f"the file {path} of {name} cannot be read ({error.strerror}); name one that the "
            "gateway may read"
        ) from error
