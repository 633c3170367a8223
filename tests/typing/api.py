"""Never run: what a type checker must see through the public names."""

from __future__ import annotations

from typing import Any, assert_type

from pydantic import BaseModel

from model_manager import Embeddings, ModelManager, Response, Route


class City(BaseModel):
    name: str


async def what_comes_back(manager: ModelManager) -> None:
    plain = await manager.generate("a", "hello")
    assert_type(plain, Response[Any])
    shaped = await manager.generate("a", "hello", output_type=City)
    assert_type(shaped, Response[City])
    assert_type(shaped.parsed, City)
    assert_type(await manager.embed("a", ["x"]), Embeddings)
    assert_type(manager.explain("a", "x"), Route)
    assert_type(manager.sync.explain("a", "x"), Route)
    bound = await manager.for_agent("a").generate("hello", output_type=City)
    assert_type(bound, Response[City])
    waited = manager.sync.generate("a", "hello", output_type=City)
    assert_type(waited, Response[City])
