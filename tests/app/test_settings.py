"""Settings from flags and the environment."""

from __future__ import annotations

import pytest

from gateway.app.settings import as_text, read_settings
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


def test_settings_survive_a_child_process_environment() -> None:
    settings = Settings(
        workers=3, retry_base=0.25, allowed_origins=("https://a.example",), token_secret="x" * 32
    )
    assert read_settings(as_text(settings)) == settings
    assert read_settings(as_text(Settings())) == Settings()
