"""The larger sections of the file: agents, endpoints, models and their prices."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from typing import Annotated, Literal, LiteralString
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, JsonValue, StringConstraints
from pydantic_core import PydanticCustomError

from model_manager.config._settings import Limits, Name, Section
from model_manager.types import Privacy

DataZone = Literal["local", "cloud"]
EndpointName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
]
Kind = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
KeyVariable = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]{0,127}$")]
Tokens = Annotated[int, Field(ge=1, le=1_000_000_000)]
Price = Annotated[Decimal, Field(ge=0, le=1_000_000, allow_inf_nan=False)]


_BRACKETED = re.compile(r"\[[^\[\]]*\](?::[0-9]*)?\Z")


def _url_fault(url: str) -> tuple[LiteralString, LiteralString] | None:
    if any(char.isspace() or not char.isprintable() for char in url):
        return "url_spaces", "holds spaces or control characters"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "url_unreadable", "is not an address"
    if parts.username is not None or parts.password is not None:
        return "url_userinfo", "holds a user name or a password"
    if "?" in url or "#" in url:
        return "url_query", "holds a query or a fragment"
    # Python 3.11 reads `[::1].example.com` as `::1`, which it is not.
    if "[" in parts.netloc and not _BRACKETED.match(parts.netloc):
        port = 0
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        return "url_scheme", "is not an http or https address"
    return None


def _checked_url(url: str) -> str:
    """Accept an http(s) address and nothing that could carry a key."""
    fault = _url_fault(url)
    if fault is not None:
        raise PydanticCustomError(*fault)
    return url.rstrip("/")


BaseUrl = Annotated[
    str, StringConstraints(min_length=1, max_length=2000), AfterValidator(_checked_url)
]


class AgentModels(Section):
    """The models of one agent, and what its work may do."""

    primary: Name | None = Field(
        default=None, description="The model that answers when all is well."
    )
    fallback: Name | None = Field(
        default=None, description="The model that answers when the primary fails."
    )
    local: Name | None = Field(
        default=None, description="The model on this machine, listed by a provider."
    )
    prefer_local: bool = Field(
        default=False,
        description="Order: local, primary, fallback. Else primary, fallback, local.",
    )
    task: Name | None = Field(
        default=None,
        description=(
            "The agent's usual task, where a call names none: chooses the strategy, the"
            " routing rule and the privacy of that task."
        ),
    )
    privacy: Privacy = Field(
        default="any",
        description="`local_only`: nothing that this agent sends leaves the machine.",
    )
    embedding: Name | None = Field(
        default=None, description="The model behind `embed`."
    )
    description: str | None = Field(
        default=None, max_length=2000, description="For people; not used."
    )


class Capabilities(Section):
    """What a model can do. Not given is unknown: it is tried, and noted."""

    tools: bool | None = Field(default=None, description="Calls tools.")
    vision: bool | None = Field(default=None, description="Takes images.")
    json_schema: bool | None = Field(
        default=None, description="Answers in a structure given by a JSON Schema."
    )
    embeddings: bool | None = Field(default=None, description="Turns text to vectors.")
    thinking: bool | None = Field(
        default=None, description="Thinks before it answers; waits are longer."
    )


class PriceOverride(Section):
    """A price of your own, in USD per million tokens; text keeps it exact.

    What is not given is unknown, not free: a call that uses it has no cost (`None`).
    """

    input: Price | None = Field(
        default=None, description="Input that is neither read from nor put in a cache."
    )
    output: Price | None = Field(default=None, description="Output, thinking included.")
    cache_read: Price | None = Field(
        default=None, description="Input read from the provider's cache."
    )
    cache_write_5m: Price | None = Field(
        default=None, description="Input written to a cache that lives five minutes."
    )
    cache_write_1h: Price | None = Field(
        default=None, description="Input written to a cache that lives one hour."
    )
    valid_from: date | None = Field(
        default=None,
        description=(
            "The first day of this price, `YYYY-MM-DD`; before it, the table's counts."
        ),
    )


class ModelSettings(Section):
    """What is known of one model at one provider; `{}` where nothing is."""

    context_window: Tokens | None = Field(
        default=None, description="Tokens for prompt and answer together."
    )
    max_output_tokens: Tokens | None = Field(
        default=None, description="Tokens that an answer may have at most."
    )
    capabilities: Capabilities = Field(
        default_factory=Capabilities, description="What the model can do."
    )
    price: PriceOverride | None = Field(
        default=None, description="Your price, instead of the bundled table's."
    )
    options: dict[str, JsonValue] = Field(
        default_factory=dict,
        description=(
            'Passed to the provider as they are; for Ollama `{"num_ctx": 8192}`.'
        ),
    )


class ProviderSettings(Section):
    """One endpoint: where it is, how it is spoken to, what it has."""

    kind: Kind | None = Field(
        default=None,
        description=(
            "How it is spoken to: `anthropic`, `openai`, `ollama`, `simulated`, or one"
            " that an installed package adds. Providers of these names need not say;"
            " any other name with a `base_url` is `openai`: vLLM, llama.cpp, LM Studio."
        ),
    )
    base_url: BaseUrl | None = Field(
        default=None,
        description=(
            "http(s) address without user, password or query. Defaults:"
            " `https://api.anthropic.com`, `https://api.openai.com/v1`,"
            " `http://127.0.0.1:11434` for Ollama."
        ),
    )
    api_key_env: KeyVariable | None = Field(
        default=None,
        description=(
            "The NAME of the environment variable that holds the key; a key itself is"
            " refused. Defaults, at the vendors' own addresses: `ANTHROPIC_API_KEY`,"
            " `OPENAI_API_KEY`. Elsewhere none: no key is sent."
        ),
    )
    data_zone: DataZone | None = Field(
        default=None,
        description=(
            "Where the data goes. Default: `local` for a loopback address, else"
            " `cloud`. Write `local` for a machine of your own that confidential work"
            " may reach."
        ),
    )
    models: dict[Name, ModelSettings] = Field(
        default_factory=dict,
        description=(
            "The models it has, by name. Where several providers list one, they are"
            " tried in the order of the file; `provider/model` picks one."
        ),
    )
    limits: Limits = Field(
        default_factory=Limits, description="How much may be sent to it at once."
    )
    gpu_device: str | None = Field(
        default=None,
        max_length=200,
        description="The card of a local server, as text; kept for the tools.",
    )
