"""What a real llama.cpp server refuses, and who answers instead."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import pytest

from model_manager import ModelManager
from model_manager.errors import (
    AllCandidatesFailedError,
    AuthenticationError,
    BadRequestError,
    ConnectionFailedError,
    ContextWindowError,
    ModelNotFoundError,
)
from model_manager.types import Tool

pytestmark = pytest.mark.real_server
Manage = Callable[..., ModelManager]
Settings = dict[str, Any]
Pointed = Callable[..., Settings]
Port = Callable[[str], int]

CODER = "agent_02_architecte_code_expert"
KEY_ENV = "REAL_SERVER_KEY"
GOOD_KEY = "sk-local-test"
BAD_KEY = "sk-not-the-key-0123456789"
LONG = "word " * 6000
"""More tokens than the small servers' window, fewer than the wide one's."""


def guarded(settings: Settings) -> Settings:
    settings["model_providers"]["real-auth"]["api_key_env"] = KEY_ENV
    return settings


async def test_the_right_key_opens_the_server(
    protocol: str, pointed: Pointed, manage: Manage
) -> None:
    settings = guarded(pointed(protocol, "auth"))
    manager = manage(settings, environ={KEY_ENV: GOOD_KEY})

    response = await manager.generate(CODER, "Hello")

    assert response.provider == "real-auth"
    assert "Grüße" in response.text


async def test_a_wrong_key_is_an_authentication_error_that_hides_it(
    protocol: str, pointed: Pointed, manage: Manage
) -> None:
    settings = guarded(pointed(protocol, "auth"))
    manager = manage(settings, environ={KEY_ENV: BAD_KEY})

    with pytest.raises(AllCandidatesFailedError) as caught:
        await manager.generate(CODER, "Hello")

    (attempt,) = caught.value.attempts
    assert isinstance(attempt.error, AuthenticationError)
    assert attempt.error.status == 401
    assert KEY_ENV in attempt.error.remedy
    for error in (caught.value, attempt.error):
        assert BAD_KEY not in "".join(traceback.format_exception(error))
        assert error.__context__ is None


async def test_a_wrong_key_leads_to_the_next_candidate(
    protocol: str, pointed: Pointed, manage: Manage
) -> None:
    settings = guarded(pointed(protocol, "auth", "chat"))
    settings["agent_models"][CODER]["prefer_local"] = False
    manager = manage(settings, environ={KEY_ENV: BAD_KEY})

    response = await manager.generate(CODER, "Hello")

    assert [a.outcome for a in response.attempts] == ["failed", "answered"]
    assert isinstance(response.attempts[0].error, AuthenticationError)
    assert response.provider == "real-chat"


async def test_a_wrong_key_before_a_stream_leads_to_the_next_candidate(
    protocol: str, pointed: Pointed, manage: Manage
) -> None:
    settings = guarded(pointed(protocol, "auth", "chat"))
    settings["agent_models"][CODER]["prefer_local"] = False
    manager = manage(settings, environ={KEY_ENV: BAD_KEY})

    async with manager.stream(CODER, "Hello") as stream:
        text = "".join([piece async for piece in stream.text])

    assert "Grüße" in text
    assert stream.response.provider == "real-chat"
    assert len(stream.response.attempts) == 2


async def test_a_prompt_beyond_the_window_is_a_context_window_error(
    protocol: str, pointed: Pointed, manage: Manage
) -> None:
    manager = manage(pointed(protocol, "chat"))

    with pytest.raises(ContextWindowError) as caught:
        await manager.generate(CODER, LONG)

    assert caught.value.status == 400
    assert len(caught.value.attempts) == 1
    assert "word word" not in str(caught.value)


async def test_a_prompt_beyond_the_window_is_one_in_a_stream_too(
    protocol: str, pointed: Pointed, manage: Manage
) -> None:
    manager = manage(pointed(protocol, "chat"))

    async with manager.stream(CODER, LONG) as stream:
        with pytest.raises(ContextWindowError):
            await anext(aiter(stream))


async def test_a_prompt_beyond_one_window_goes_to_a_larger_one(
    protocol: str, pointed: Pointed, manage: Manage
) -> None:
    settings = pointed(protocol, "chat", "think", "wide")
    agent = settings["agent_models"][CODER]
    agent["prefer_local"] = False
    providers = settings["model_providers"]
    # What the files say of windows may be wrong: these two claim more than they have.
    providers["real-chat"]["models"]["tiny-chat"]["context_window"] = 9000
    providers["real-think"]["models"]["tiny-think"]["context_window"] = 9000
    manager = manage(settings)

    response = await manager.generate(CODER, LONG)

    assert [a.candidate.model for a in response.attempts] == ["tiny-chat", "tiny-wide"]
    assert isinstance(response.attempts[0].error, ContextWindowError)
    assert "Grüße" in response.text


async def test_a_window_that_the_configuration_tells_is_not_tried(
    protocol: str, pointed: Pointed, manage: Manage
) -> None:
    settings = pointed(protocol, "chat", "wide")
    settings["agent_models"][CODER]["prefer_local"] = False
    models = settings["model_providers"]["real-chat"]["models"]
    models["tiny-chat"]["context_window"] = 2048
    manager = manage(settings)

    response = await manager.generate(CODER, LONG)

    assert [a.candidate.model for a in response.attempts] == ["tiny-wide"]
    assert [r.code for r in response.route.refused] == ["context_window"]


async def test_an_unknown_model_leads_to_one_that_is_there(
    protocol: str, at: Callable[..., Settings], port: Port, manage: Manage
) -> None:
    router = at(protocol, port("router"), "no-such-model", "tiny-chat")
    manager = manage(
        {
            "version": "1.1.0",
            "agent_models": {
                "writer": {"primary": "no-such-model", "fallback": "tiny-chat"}
            },
            "model_providers": {"router": router},
        }
    )

    response = await manager.generate("writer", "Hello")

    assert isinstance(response.attempts[0].error, ModelNotFoundError)
    assert response.model == "tiny-chat"
    assert "Grüße" in response.text


async def test_a_server_that_is_not_there_leads_to_one_that_is(
    *,
    protocol: str,
    pointed: Pointed,
    at: Callable[..., Settings],
    manage: Manage,
    unused_tcp_port: int,
) -> None:
    settings = pointed(protocol, "chat")
    settings["model_providers"]["gone"] = at(protocol, unused_tcp_port, "tiny-gone")
    settings["agent_models"][CODER]["local"] = "tiny-gone"
    settings["retry"]["base_delay"] = 0.01
    manager = manage(settings)

    response = await manager.generate(CODER, "Hello")

    assert isinstance(response.attempts[0].error, ConnectionFailedError)
    assert response.provider == "real-chat"


async def test_a_malformed_request_is_sent_to_nobody_else(
    protocol: str, pointed: Pointed, manage: Manage
) -> None:
    manager = manage(pointed(protocol, "tool", "chat"))
    broken = Tool("broken", parameters={"type": "nonsense"})

    with pytest.raises(BadRequestError) as caught:
        await manager.generate(CODER, "Hello", tools=[broken])

    assert caught.value.status == 400
    assert len(caught.value.attempts) == 1


async def test_the_environment_cannot_lead_a_local_call_elsewhere(
    protocol: str, pointed: Pointed, manage: Manage, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = "http://127.0.0.1:9"
    for name in (
        "HTTP_PROXY",
        "http_proxy",
        "ALL_PROXY",
        "OPENAI_BASE_URL",
        "ANTHROPIC_BASE_URL",
    ):
        monkeypatch.setenv(name, nowhere)
    manager = manage(pointed(protocol, "chat"))

    response = await manager.generate(CODER, "Hello")

    assert "Grüße" in response.text


async def test_health_tells_which_servers_are_there(
    *,
    protocol: str,
    pointed: Pointed,
    at: Callable[..., Settings],
    manage: Manage,
    unused_tcp_port: int,
) -> None:
    settings = guarded(pointed(protocol, "chat", "auth"))
    settings["model_providers"]["gone"] = at(protocol, unused_tcp_port, "tiny-gone")
    manager = manage(settings, environ={KEY_ENV: GOOD_KEY})

    health = await manager.health()

    assert {report.endpoint: report.status for report in health.endpoints} == {
        "real-chat": "ok",
        "real-auth": "ok",
        "gone": "unreachable",
    }
