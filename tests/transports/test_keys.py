"""Keys: which of a set may check signatures, and how the set is read again."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from gateway.domain.errors import ConfigurationError, Unavailable
from gateway.transports import keys as module
from gateway.transports.keys import KEYS_MAX, SET_BYTES_MAX, Keys
from tests.identity import JSON, Authority, Provider
from tests.transports.world import CLOCK, until

RSA = RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 2048).public_key(), as_dict=True)
SHORT_RSA = RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 1024).public_key(), as_dict=True)
EC = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key(), as_dict=True)
PRIVATE = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()), as_dict=True)
P384 = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP384R1()).public_key(), as_dict=True)
LONG_AGO = 0.0


def written(folder: Path, *members: Any) -> str:
    path = folder / "keys.json"
    path.write_text(json.dumps({"keys": list(members)}))
    return str(path)


# --- which keys ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("member", "algorithm"),
    [
        (RSA, "RS256"),
        (EC, "ES256"),
        ({**RSA, "use": "sig"}, "RS256"),
        ({**RSA, "alg": "RS256"}, "RS256"),
        ({**EC, "key_ops": ["verify"]}, "ES256"),
        ({**EC, "key_ops": None, "use": None}, "ES256"),
    ],
)
def test_a_key_for_signatures_is_used_for_its_algorithm_alone(
    tmp_path: Path, member: Any, algorithm: str
) -> None:
    keys = Keys(written(tmp_path, member), CLOCK)
    assert len(keys.fitting(algorithm, None)) == 1
    (other,) = {"RS256", "ES256"} - {algorithm}
    assert keys.fitting(other, None) == []


@pytest.mark.parametrize(
    ("member", "why"),
    [
        ({**RSA, "use": "enc"}, "not for signatures"),
        ({**RSA, "key_ops": ["encrypt"]}, "not for signatures"),
        ({**RSA, "key_ops": []}, "not for signatures"),
        ({**RSA, "key_ops": 5}, "not for signatures"),
        ({**RSA, "use": ["sig"]}, "not for signatures"),
        (SHORT_RSA, "fewer than 2048 bits"),
        (PRIVATE, "private"),
        ({**RSA, "alg": "RS512"}, "another algorithm"),
        (P384, "another algorithm"),
        ({"kty": "oct", "k": "c2VjcmV0" * 6}, "another algorithm"),
        ({"kty": "new"}, "not readable"),
        ({**RSA, "n": 5}, "not readable"),
        ("key", "not an object"),
    ],
)
def test_any_other_key_is_left_out_and_the_reason_is_told(
    tmp_path: Path, member: Any, why: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"1 .*{why}"):
        Keys(written(tmp_path, member), CLOCK)
    assert len(Keys(written(tmp_path, member, EC), CLOCK).fitting("ES256", None)) == 1


def test_keys_are_found_by_name_and_all_of_one_name_are_given(tmp_path: Path) -> None:
    named = [{**EC, "kid": "a"}, {**RSA, "kid": "a"}, {**EC, "kid": "b"}, {**EC, "kid": "a"}]
    keys = Keys(written(tmp_path, *named), CLOCK)
    assert len(keys.fitting("ES256", "a")) == 2
    assert len(keys.fitting("ES256", None)) == 3
    assert len(keys.fitting("RS256", "a")) == 1
    assert keys.fitting("ES256", "c") == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no JSON Web Key Set"),
        ("[]", "no JSON Web Key Set"),
        ("{}", "no JSON Web Key Set"),
        ('{"keys": {}}', "no JSON Web Key Set"),
        ('{"keys": []}', "it is empty"),
        (json.dumps({"keys": [EC] * (KEYS_MAX + 1)}), f"at most {KEYS_MAX}"),
        (json.dumps({"keys": [EC], "x": "x" * SET_BYTES_MAX}), "bytes"),
    ],
)
def test_a_file_that_is_no_key_set_is_told(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=f"jwks: .*{why}"):
        Keys(str(path), CLOCK)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.json"):
        Keys(str(tmp_path / "none.json"), CLOCK)


def test_as_many_keys_as_are_taken_are_taken(tmp_path: Path) -> None:
    keys = Keys(written(tmp_path, *[EC] * KEYS_MAX), CLOCK)
    assert len(keys.fitting("ES256", None)) == KEYS_MAX


# --- reading again ------------------------------------------------------------------------------


async def test_an_address_is_read_at_once_and_again_for_a_key_that_is_not_known() -> None:
    async with Provider() as provider:
        keys = Keys(provider.url, CLOCK)
        async with keys.running():
            await until(lambda: keys.fitting("ES256", "k1"))
            provider.rotate()
            assert keys.fitting("ES256", "k2") == []
            await keys.look_again()
            assert keys.fitting("ES256", "k2")
            assert keys.fitting("ES256", "k1") == [], "the old key was taken out of the set"
            assert provider.asked == 2


async def test_those_who_ask_at_once_share_a_reading_and_then_it_is_not_read_for_a_while() -> None:
    """Otherwise everybody could make the gateway ask the provider as often as they like."""
    async with Provider() as provider:
        keys = Keys(provider.url, CLOCK)
        async with keys.running():
            await until(lambda: keys.fitting("ES256", "k1"))
            await asyncio.gather(*(keys.look_again() for _ in range(50)))
            for _ in range(50):
                await keys.look_again()
            assert provider.asked == 2


async def test_a_token_that_is_younger_than_the_last_reading_may_come_again() -> None:
    """Its key may be younger, too: refused for good, its user would never come back."""
    async with Provider() as provider:
        keys = Keys(provider.url, CLOCK)
        async with keys.running():
            await until(lambda: keys.fitting("ES256", "k1"))
            before = CLOCK.wall()
            await keys.look_again()
            keys.require_certain(issued_at=before)
            await keys.look_again()
            with pytest.raises(Unavailable) as later:
                keys.require_certain(issued_at=CLOCK.wall())
            assert later.value.retry_after is not None
            assert 8 < later.value.retry_after <= module.AGAIN_S


async def test_after_a_while_it_is_read_again_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGAIN_S", 0.05)
    async with Provider() as provider:
        keys = Keys(provider.url, CLOCK)
        async with keys.running():
            await until(lambda: keys.fitting("ES256", "k1"))
            for number in (2, 3):
                provider.rotate()

                async def found(name: str = f"k{number}") -> bool:
                    await keys.look_again()
                    return bool(keys.fitting("ES256", name))

                async with asyncio.timeout(10):
                    while not await found():
                        await CLOCK.sleep(0.01)


async def test_a_key_that_was_taken_out_ends_although_nobody_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "READ_EVERY_S", 0.05)
    async with Provider() as provider:
        keys = Keys(provider.url, CLOCK)
        async with keys.running():
            await until(lambda: keys.fitting("ES256", "k1"))
            provider.rotate()
            await until(lambda: not keys.fitting("ES256", "k1"))


async def test_a_file_is_read_again_in_the_same_way(tmp_path: Path) -> None:
    keys = Keys(written(tmp_path, {**EC, "kid": "a"}), CLOCK)
    async with keys.running():
        written(tmp_path, {**EC, "kid": "b"})
        await keys.look_again()
        assert keys.fitting("ES256", "b")
        assert keys.fitting("ES256", "a") == []


# --- an address that does not answer as it should -----------------------------------------------


async def test_before_it_has_answered_once_nobody_is_refused_for_good(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Provider() as provider:
        await provider.stop()
        keys = Keys(provider.url, CLOCK)
        await keys.look_again()
        with pytest.raises(Unavailable):
            keys.require_certain(issued_at=LONG_AGO)
        async with keys.running():
            await keys.look_again()
            assert "cannot be read" in caplog.text
            with pytest.raises(Unavailable) as later:
                keys.require_certain(issued_at=LONG_AGO)
            assert later.value.retry_after == pytest.approx(module.FIRST_AGAIN_S)
            await provider.start()
            await until(lambda: keys.fitting("ES256", "k1"))
            assert "could be read again" in caplog.text
    assert caplog.text.count("cannot be read") == 1, "once, not with every try"


async def silent(writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def endless(writer: asyncio.StreamWriter) -> None:
    writer.write(JSON + b"\r\n")
    while True:
        writer.write(b" " * 65_536)
        await writer.drain()


async def slow(writer: asyncio.StreamWriter) -> None:
    writer.write(JSON + b"\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await CLOCK.sleep(0.02)


async def slow_head(writer: asyncio.StreamWriter) -> None:
    for byte in JSON * 1000:
        writer.write(bytes([byte]))
        await writer.drain()
        await CLOCK.sleep(0.02)


def saying(answer: bytes) -> Any:
    async def say(writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    return say


@pytest.mark.parametrize(
    ("misbehave", "why"),
    [
        (silent, "timed out|within"),
        (slow, "within"),
        (slow_head, "within"),
        (endless, f"more than {SET_BYTES_MAX} bytes"),
        (saying(b""), "does not answer"),
        (saying(b"no HTTP\r\n\r\n"), "does not answer"),
        (saying(b"HTTP/1.1 503 Busy\r\n\r\n"), "answers with 503"),
        (saying(b"HTTP/1.1 302 Found\r\nlocation: file:///etc/hosts\r\n\r\n"), "answers with 302"),
        (saying(JSON + b"\r\n<html>sign in</html>"), "no JSON Web Key Set"),
        (saying(JSON + b'\r\n{"keys": []}'), "it is empty"),
        (saying(JSON + b'content-length: 99\r\n\r\n{"keys": ['), "no JSON Web Key Set"),
    ],
)
async def test_the_old_keys_hold_while_the_address_misbehaves(
    misbehave: Any, why: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And tokens of other keys may come again, since nobody can say what they are."""
    monkeypatch.setattr(module, "STEP_S", 0.2)
    monkeypatch.setattr(module, "READ_S", 0.3)
    async with Provider() as provider:
        keys = Keys(provider.url, CLOCK)
        async with keys.running():
            await until(lambda: keys.fitting("ES256", "k1"))
            provider.misbehave = misbehave
            await keys.look_again()
            with pytest.raises(Unavailable):
                keys.require_certain(issued_at=LONG_AGO)
            assert keys.fitting("ES256", "k1")
            (said,) = [r.getMessage() for r in caplog.records if "cannot be read" in r.message]
            assert "still hold" in said
            assert re.search(why, said), said


async def test_a_certificate_of_nobody_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """That of the machine's authorities is: OpenSSL's variable names one more."""
    authority = Authority(tmp_path)
    async with Provider(authority.server_context()) as provider:
        keys = Keys(provider.url, CLOCK)
        async with keys.running():
            await until(lambda: "CERTIFICATE_VERIFY_FAILED" in caplog.text)
        assert provider.asked == 0
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca))
        keys = Keys(provider.url, CLOCK)
        async with keys.running():
            await until(lambda: keys.fitting("ES256", "k1"))


async def test_the_loop_goes_on_while_the_address_is_asked() -> None:
    """A provider that hangs must not hold up a thousand sockets."""
    async with Provider() as provider:
        asked = asyncio.Event()

        async def wait(writer: asyncio.StreamWriter) -> None:
            asked.set()
            await silent(writer)

        provider.misbehave = wait
        async with Keys(provider.url, CLOCK).running(), asyncio.timeout(5):
            # This very loop serves the answer.
            await asked.wait()
