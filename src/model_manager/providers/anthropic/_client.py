"""The SDK's client, bound to what the configuration says and to nothing else."""

from __future__ import annotations

import logging
from typing import Final

import httpx2
from anthropic import APIConnectionError as UnreachableError
from anthropic import APIStatusError as StatusError
from anthropic import APITimeoutError as TimedOutError
from anthropic import AsyncAnthropic, Omit
from typing_extensions import override

from model_manager.providers._vendor import host_of

__all__ = ["Omit", "StatusError", "TimedOutError", "UnreachableError", "build_client"]

# Any value keeps the SDK from looking for a key itself; requests then omit the header.
_KEYLESS: Final = "none"
_OWN_HOST: Final = "api.anthropic.com"


class _Bodiless(logging.Filter):
    """Takes the body, which holds the prompt, out of what the SDK logs at DEBUG."""

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, dict) and "content" in record.args:
            record.args = {**record.args, "content": "..."}
        return True


logging.getLogger("anthropic._base_client").addFilter(_Bodiless())


class _Client(AsyncAnthropic):
    """A client whose headers are ours: the environment can add or replace none.

    `ANTHROPIC_CUSTOM_HEADERS` is read by the SDK's constructor whatever it is given;
    what it left behind is replaced here. An explicit key keeps the SDK from profiles,
    tokens and files. The headers are built once instead of once a call, and no spans
    are opened: ours would be doubled.
    """

    def __init__(
        self,
        *,
        base_url: str,
        key: str | None,
        http: httpx2.AsyncClient,
        headers: dict[str, str],
    ) -> None:
        super().__init__(
            api_key=key or _KEYLESS,
            webhook_key="",
            base_url=base_url,
            max_retries=0,
            open_telemetry=False,
            http_client=http,
        )
        self._custom_headers = headers
        self._ours: dict[str, str | Omit] | None = None

    @property
    @override
    def default_headers(self) -> dict[str, str | Omit]:
        if self._ours is None:
            self._ours = super().default_headers
        return self._ours


def build_client(
    *, base_url: str, key: str | None, http: httpx2.AsyncClient
) -> AsyncAnthropic:
    """Build a client for the running loop around the shared HTTP client.

    Gateways get the key as `x-api-key` as well: many read only that, while the SDK
    sends `Authorization`.
    """
    gateway = host_of(base_url) != _OWN_HOST
    headers = {"x-api-key": key} if gateway and key is not None else {}
    return _Client(base_url=base_url, key=key, http=http, headers=headers)
