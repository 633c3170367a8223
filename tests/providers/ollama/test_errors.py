"""Statuses, texts and broken wires: what each of them means."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_manager.errors import (
    AuthenticationError,
    BadRequestError,
    ConnectionFailedError,
    ContextWindowError,
    EgressRefusedError,
    LocalResourceError,
    MalformedResponseError,
    ModelNotFoundError,
    OverloadedError,
    ProviderError,
    QuotaExhaustedError,
    RateLimitError,
    ServerError,
    StreamInterruptedError,
    UnsupportedFeatureError,
)
from model_manager.providers import WireError, WireFault
from model_manager.providers.ollama._errors import Failures

RECORDED = Path(__file__).parent / "recorded"
FAILURES = Failures("box", "tiny")


def recorded(name: str) -> bytes:
    return (RECORDED / name).read_bytes()


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, recorded("err_bad_json.json"), BadRequestError),
        (400, recorded("err_no_model.json"), BadRequestError),
        (400, recorded("err_think_unsupported.json"), UnsupportedFeatureError),
        (400, recorded("err_chat_on_embed_model.json"), UnsupportedFeatureError),
        (501, recorded("err_embed_on_chat_model.json"), UnsupportedFeatureError),
        (400, recorded("err_long_prompt_truncate_false.json"), ContextWindowError),
        (404, recorded("err_model_not_found.json"), ModelNotFoundError),
        (404, recorded("err_404.txt"), ModelNotFoundError),
        (405, recorded("err_method.txt"), BadRequestError),
        (503, recorded("err_queue_full.json"), OverloadedError),
        (503, b"", OverloadedError),
        (500, b'{"error":"CUDA error: out of memory"}', LocalResourceError),
        (500, b'{"error":"model runner has unexpectedly stopped"}', LocalResourceError),
        (500, b'{"error":"llama-server: cudaMalloc failed"}', LocalResourceError),
        (500, b'{"error":"option num_ctx must be of type integer"}', BadRequestError),
        (500, b'{"error":"invalid format: x; expected json"}', BadRequestError),
        (500, b'{"error":{"message":"out of memory"}}', LocalResourceError),
        (500, b"\xff\xfe", ServerError),
        (502, b"bad gateway", ServerError),
        (499, b"", ServerError),
        (401, b'{"error":"unauthorized","signin_url":"x"}', AuthenticationError),
        (402, b"", QuotaExhaustedError),
        (403, b"", AuthenticationError),
        (429, b"", RateLimitError),
        (307, b"", ModelNotFoundError),
    ],
)
def test_an_error_status_means(
    status: int, body: bytes, kind: type[ProviderError]
) -> None:
    failure = FAILURES.of_response(status, body)

    assert type(failure) is kind
    assert (failure.provider, failure.model) == ("box", "tiny")
    assert failure.status == status
    assert failure.remedy


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("unreachable", ConnectionFailedError),
        ("connect_timeout", ConnectionFailedError),
        ("lost", ConnectionFailedError),
        ("cut", StreamInterruptedError),
        ("unreadable", MalformedResponseError),
        ("refused", EgressRefusedError),
    ],
)
def test_a_failure_of_the_wire_means(
    fault: WireFault, kind: type[ProviderError]
) -> None:
    failure = FAILURES.of_wire(WireError(fault))

    assert type(failure) is kind
    assert failure.remedy


def test_no_stand_ins_still_say_what_to_do() -> None:
    failure = FAILURES.not_installed([])

    assert failure.remedy == "Run `ollama pull tiny` yourself, or choose another."
