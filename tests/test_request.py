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
