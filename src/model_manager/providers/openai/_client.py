"""The SDK's client, bound to what the configuration says and to nothing else."""

from __future__ import annotations

from typing import Final

import httpx2
from openai import APIConnectionError as UnreachableError
from openai import APIStatusError as StatusError
from openai import APITimeoutError as TimedOutError
from openai import AsyncOpenAI, Omit
from typing_extensions import override

__all__ = ["Omit", "StatusError", "TimedOutError", "UnreachableError", "build_client"]

# Any value keeps the SDK from looking for a key itself; requests then omit the header.
_KEYLESS: Final = "none"


class _Client(AsyncOpenAI):
    """A client whose headers are ours: the environment can add or replace none.

    `OPENAI_CUSTOM_HEADERS`, `OPENAI_ORG_ID` and `OPENAI_PROJECT_ID` are read by the
    SDK's constructor whatever it is given; what they left behind is dropped here. The
    headers are built once instead of once a call.
    """

    def __init__(
        self, *, base_url: str, key: str | None, http: httpx2.AsyncClient
    ) -> None:
        super().__init__(
            api_key=key or _KEYLESS,
            admin_api_key="",
            organization="",
            project="",
            webhook_secret="",
            base_url=base_url,
            max_retries=0,
            http_client=http,
        )
        self.admin_api_key = None
        self.organization = None
        self.project = None
        self._custom_headers = {}
        self._ours: dict[str, str | Omit] | None = None

    @property
    @override
    def default_headers(self) -> dict[str, str | Omit]:
        if self._ours is None:
            self._ours = super().default_headers
        return self._ours


def build_client(
    *, base_url: str, key: str | None, http: httpx2.AsyncClient
) -> AsyncOpenAI:
    """Build a client for the running loop around the shared HTTP client."""
    return _Client(base_url=base_url, key=key, http=http)
