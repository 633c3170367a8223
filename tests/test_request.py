"""Arguments of the wrong type are told by name, before anything else happens."""

from __future__ import annotations

from typing import Any

import pytest

from model_manager._request import chat_request, embed_request
from model_manager.errors import InvalidRequestError


@pytest.mark.parametrize(
    "argument",
    [{"task": 3}, {"task": ["code"]}, {"task": " "}, {"model": 3}, {"model": ""}],
)
def test_a_task_or_model_that_is_no_name_is_told(argument: dict[str, Any]) -> None:
    (name,) = argument
    with pytest.raises(InvalidRequestError, match=f"{name} must be a name that"):
        chat_request("agent", "hello", **argument)
    with pytest.raises(InvalidRequestError, match=f"{name} must be a name that"):
        embed_request("agent", ["hello"], **argument)


@pytest.mark.parametrize("seed", ["1", 1.5, True])
def test_a_seed_that_is_no_whole_number_is_told(seed: Any) -> None:
    with pytest.raises(InvalidRequestError, match="seed must be a whole number"):
        chat_request("agent", "hello", seed=seed)


@pytest.mark.parametrize("limit", [1.5, float("inf"), "9", True])
def test_a_limit_of_the_answer_that_is_no_whole_number_is_told(limit: Any) -> None:
    with pytest.raises(InvalidRequestError, match="max_output_tokens must be a whole"):
        chat_request("agent", "hello", max_output_tokens=limit)


@pytest.mark.parametrize("arguments", [("", "x"), (" ", "x"), ("agent", "x", "")])
def test_a_blank_name_is_called_blank_and_not_by_its_type(
    arguments: tuple[str, ...],
) -> None:
    agent, prompt, *task = arguments
    with pytest.raises(InvalidRequestError, match="not a blank one"):
        chat_request(agent, prompt, task=task[0] if task else None)


NOT_A_NUMBER, ENDLESS = float("nan"), float("inf")
HUGE = [10**400, -(10**400), 10**5000]
"""Too long for a float, and one too long for Python to write out."""


def kind_of(value: object) -> str:
    """Name a case: the longest number cannot be written out for that either."""
    return type(value).__name__


@pytest.mark.parametrize(
    "timeout",
    [0, -1, 86_401, NOT_A_NUMBER, ENDLESS, -ENDLESS, *HUGE, "9", True],
    ids=kind_of,
)
def test_a_timeout_that_cannot_be_meant_is_told_with_the_bound(timeout: Any) -> None:
    with pytest.raises(InvalidRequestError, match=r"timeout must .* 86400 \(a day\)"):
        chat_request("agent", "hello", timeout=timeout)
    with pytest.raises(InvalidRequestError, match=r"timeout must .* 86400 \(a day\)"):
        embed_request("agent", ["hello"], timeout=timeout)


@pytest.mark.parametrize("timeout", [1e-3, 30, 86_400])
def test_a_timeout_of_up_to_a_day_is_taken(timeout: float) -> None:
    assert chat_request("agent", "hello", timeout=timeout).timeout == timeout


@pytest.mark.parametrize("name", ["temperature", "max_output_tokens", "seed"])
@pytest.mark.parametrize("value", [NOT_A_NUMBER, ENDLESS, -ENDLESS, *HUGE], ids=kind_of)
def test_no_number_is_too_strange_to_be_told(name: str, value: Any) -> None:
    arguments: dict[str, Any] = {name: value}
    with pytest.raises(InvalidRequestError, match=f"{name} must be"):
        chat_request("agent", "hello", **arguments)


@pytest.mark.parametrize("name", ["timeout", "temperature", "max_output_tokens"])
def test_a_text_in_the_place_of_a_number_is_not_repeated(name: str) -> None:
    arguments: dict[str, Any] = {name: "SECRET"}
    with pytest.raises(InvalidRequestError, match="not str") as caught:
        chat_request("agent", "hello", **arguments)

    assert "SECRET" not in str(caught.value)
