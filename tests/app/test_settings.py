"""Settings from flags and the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.app.settings import SECRET_BYTES_MAX, as_text, read_secret, read_settings
from gateway.domain.errors import ConfigurationError
from gateway.domain.settings import Settings


def test_without_any_setting_the_defaults_hold() -> None:
    assert read_settings({}) == Settings()
    assert read_settings({"RETRY_BASE": "7", "PATH": "/bin", "GATEWAY_URL": "x"}) == Settings()


def test_the_environment_is_read_by_kind() -> None:
    read = read_settings(
        {
            "GATEWAY_RETRY_BASE": "0.5",
            "GATEWAY_WORKERS": "4",
            "GATEWAY_BREAKER_RATE": "1",
            "GATEWAY_ALLOWED_ORIGINS": "https://a.example, https://b.example,,",
            "GATEWAY_TOKEN_SECRET": "x" * 32,
        }
    )
    assert (read.retry_base, read.workers, read.breaker_rate) == (0.5, 4, 1.0)
    assert read.allowed_origins == ("https://a.example", "https://b.example")
    assert read.token_secret == "x" * 32


def test_flags_win_over_the_environment() -> None:
    read = read_settings({"GATEWAY_WORKERS": "4"}, {"workers": "5", "threads": None})
    assert (read.workers, read.threads) == (5, Settings().threads)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("WORKERS", "many"),
        ("WORKERS", "1.5"),
        ("WORKERS", ""),
        ("WORKERS", "0"),
        ("RETRY_BASE", "soon"),
        ("RETRY_BASE", "nan"),
        ("RETRY_BASE", "inf"),
        ("RETRY_BASE", "100"),
        ("TOKEN_SECRET", "short"),
        ("STORE", "redis"),
    ],
)
def test_a_wrong_setting_is_named(name: str, text: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read_settings({f"GATEWAY_{name}": text})
    assert name.lower() in str(refused.value).lower()


# --- secrets from files -----------------------------------------------------------------------


def held(folder: Path, content: bytes) -> str:
    path = folder / "secret"
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\n\n"])
def test_a_secret_may_be_in_a_file_as_editors_and_tools_write_one(
    tmp_path: Path, end: bytes
) -> None:
    path = held(tmp_path, b" x" * 16 + end)
    assert read_settings({"GATEWAY_TOKEN_SECRET_FILE": path}).token_secret == " x" * 16
    assert read_settings({}, {"token_secret_file": path}).token_secret == " x" * 16


def test_a_file_that_is_a_flag_wins_over_the_environment(tmp_path: Path) -> None:
    path = held(tmp_path, b"f" * 32)
    for known in ({"GATEWAY_TOKEN_SECRET": "e" * 32}, {"GATEWAY_TOKEN_SECRET_FILE": "/none"}):
        assert read_settings(known, {"token_secret_file": path}).token_secret == "f" * 32
    flags = {"token_secret": "g" * 32}
    assert read_settings({"GATEWAY_TOKEN_SECRET_FILE": path}, flags).token_secret == "g" * 32


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff" * 40, None])
def test_a_file_without_a_secret_opens_no_gateway(tmp_path: Path, content: bytes | None) -> None:
    """One that is named and empty is a mistake: it must not mean that there is no secret."""
    path = str(tmp_path / "none") if content is None else held(tmp_path, content)
    with pytest.raises(ConfigurationError, match="token_secret_file"):
        read_settings({"GATEWAY_TOKEN_SECRET_FILE": path})


def test_of_a_secret_and_its_file_one_is_given(tmp_path: Path) -> None:
    both = {"TOKEN_SECRET": "e" * 32, "TOKEN_SECRET_FILE": held(tmp_path, b"f" * 32)}
    with pytest.raises(ConfigurationError, match="both given"):
        read_settings({f"GATEWAY_{name}": text for name, text in both.items()})
    with pytest.raises(ConfigurationError, match="both given"):
        read_settings({}, {name.lower(): text for name, text in both.items()})
    emptied = {"GATEWAY_TOKEN_SECRET": "", "GATEWAY_TOKEN_SECRET_FILE": both["TOKEN_SECRET_FILE"]}
    assert read_settings(emptied).token_secret == "f" * 32


def test_a_file_is_read_up_to_a_bound(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"x" * (SECRET_BYTES_MAX + 1))
    assert len(read_secret(path, "--token-file")) == SECRET_BYTES_MAX


def test_settings_survive_a_child_process_environment() -> None:
    settings = Settings(
        workers=3, retry_base=0.25, allowed_origins=("https://a.example",), token_secret="x" * 32
    )
    assert read_settings(as_text(settings)) == settings
    assert read_settings(as_text(Settings())) == Settings()
