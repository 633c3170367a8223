"""The card in a call's way: who is refused for it, and who answers instead."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from model_manager import ModelManager, NoCandidateError
from model_manager.errors import DriverNotLoadedError, LocalOnlyUnavailableError
from model_manager.events import CallStarted, Event
from model_manager.gpu import Gpu, GpuProcess, Machine
from model_manager.testing import (
    FakeClock,
    FakeCuda,
    FakeNvml,
    FakeProcesses,
    FakeSystem,
    OllamaServer,
    ScriptedProvider,
    rtx_3090,
    rtx_5060_ti,
)
from model_manager.types import Attempt, Clock, InstalledModel, LoadedModel

GIB = 1024**3
STANDARD = {
    "CUDA_VISIBLE_DEVICES": "1",
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    "PYTORCH_CUDA_ALLOC_CONF": "max_split_size_mb:1024",
}
OLLAMA = {
    "CUDA_VISIBLE_DEVICES": rtx_3090().uuid,
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    "OLLAMA_VULKAN": "0",
}
MIXTRAL, CODER, SMALL = "mixtral-8x7b", "qwen-coder-32b", "llama3:8b"
TIGHT = InstalledModel(name="tight-32b", size=int(22.7 * GIB))
MODELS = (
    InstalledModel(name=MIXTRAL, size=26 * GIB),
    InstalledModel(name=CODER, size=18 * GIB),
    InstalledModel(name=SMALL, size=6 * GIB),
)


class Place:
    """A machine whose card can change, a server on it, and a cloud."""

    def __init__(self, server: OllamaServer, cards: tuple[Gpu, ...]) -> None:
        self.server = server
        self.nvml = FakeNvml(*cards)
        self.cuda = FakeCuda(rtx_3090())
        self.cloud = ScriptedProvider()
        self.processes = FakeProcesses(
            listeners={urlsplit(server.base_url).port or 0: 7},
            environments={7: OLLAMA},
        )
        self.environ: dict[str, str] = dict(STANDARD)

    def manager(
        self,
        *,
        local: str = CODER,
        gpu: Mapping[str, Any] | None = None,
        factories: Mapping[str, Any] | None = None,
        clock: Clock | None = None,
        **more: Any,
    ) -> ModelManager:
        settings: dict[str, Any] = {
            "version": "1.1.0",
            "agent_models": {
                "a": {
                    "local": local,
                    "primary": "claude-opus-5-5",
                    "prefer_local": True,
                }
            },
            "model_providers": {
                "ollama": {
                    "base_url": self.server.base_url,
                    "models": {m.name: {} for m in MODELS},
                }
            },
            **more,
        }
        if gpu is not None:
            settings["gpu_settings"] = gpu
        machine = Machine(
            nvml=self.nvml,
            cuda=self.cuda,
            system=FakeSystem(),
            environ=self.environ,
            processes=self.processes,
        )
        return ModelManager(
            settings,
            providers={"anthropic": self.cloud.factory, **(factories or {})},
            environ={"ANTHROPIC_API_KEY": "k"},
            machine=machine,
            clock=clock,
        )

    def load(self, size: int) -> None:
        """Let the driver show what the server has loaded."""
        process = GpuProcess(pid=7, kind="compute", name="ollama", memory=size)
        card = rtx_3090(memory_used=size, processes=(process,))
        self.nvml.cards = (rtx_5060_ti(), card)

    async def unload(self, model: str) -> None:
        """Let the server forget a model that it has loaded."""
        body = json.dumps({"model": model, "keep_alive": 0}).encode()
        request = urllib.request.Request(  # noqa: S310 - a server of this test
            f"{self.server.base_url}/api/chat", data=body
        )
        with await asyncio.to_thread(urllib.request.urlopen, request) as answer:
            answer.read()

    def asked(self, path: str) -> int:
        return sum(1 for request in self.server.requests if request.path == path)


@asynccontextmanager
async def place(
    *cards: Gpu, models: tuple[InstalledModel, ...] = MODELS
) -> AsyncIterator[Place]:
    async with OllamaServer(models=models) as server:
        yield Place(server, cards or (rtx_5060_ti(), rtx_3090()))


async def test_a_model_larger_than_the_card_is_refused_with_advice() -> None:
    async with place() as here, here.manager(local=MIXTRAL) as manager:
        response = await manager.generate("a", "Bonjour")

    (refusal,) = [r for r in response.route.refused if r.code == "vram"]
    assert refusal.candidate.model == MIXTRAL
    assert "26" in refusal.reason
    assert "GiB" in refusal.reason
    assert refusal.remedy
    assert response.provider == "anthropic"


async def test_who_is_refused_for_the_card_is_told_when_the_call_begins() -> None:
    told: list[Event] = []
    async with place() as here, here.manager(local=MIXTRAL) as manager:
        manager.events.subscribe(told.append)
        await manager.generate("a", "Bonjour")

    (begun,) = (event for event in told if isinstance(event, CallStarted))
    assert begun.refused == (f"ollama/{MIXTRAL} (vram)",)


async def test_the_best_installed_model_that_fits_stands_in_for_it() -> None:
    async with place() as here, here.manager(local=MIXTRAL) as manager:
        response = await manager.generate(
            "a", "Secret", task="code", privacy="local_only"
        )

    assert response.model == CODER
    assert response.is_local


async def test_what_fits_is_asked_and_its_server_is_described_once() -> None:
    async with place() as here, here.manager(local=SMALL) as manager:
        for _ in range(3):
            response = await manager.generate("a", "Bonjour")

        assert response.model == SMALL
        assert here.asked("/api/show") == 1


async def test_the_share_of_the_card_that_may_be_used_counts() -> None:
    thresholds = {"max_vram_usage_percent": 60}
    async with (
        place() as here,
        here.manager(local=CODER, performance_thresholds=thresholds) as manager,
    ):
        response = await manager.generate("a", "Bonjour", privacy="local_only")

    assert response.model == SMALL
    assert [r.candidate.model for r in response.route.refused if r.code == "vram"] == [
        CODER
    ]


async def test_a_card_that_others_have_filled_meanwhile_is_left_to_them() -> None:
    async with place() as here, here.manager(local=CODER) as manager:
        await manager.generate("a", "warm up", privacy="local_only")
        await here.unload(CODER)
        here.nvml.cards = (rtx_5060_ti(), rtx_3090(memory_used=12 * GIB))

        response = await manager.generate("a", "Bonjour")

    skipped = response.attempts[0]
    assert skipped.outcome == "skipped"
    assert getattr(skipped.error, "code", "") == "vram"
    assert "now" in str(skipped.error)
    assert response.provider == "anthropic"


async def test_what_the_server_would_unload_counts_as_room() -> None:
    async with place() as here, here.manager(local=CODER) as manager:
        await manager.generate("a", "warm up", model=SMALL)
        here.nvml.cards = (rtx_5060_ti(), rtx_3090(memory_used=7 * GIB))

        response = await manager.generate("a", "Bonjour")

    assert response.model == CODER


async def test_without_a_card_nothing_is_refused_for_it() -> None:
    async with place() as here, here.manager(local=MIXTRAL) as manager:
        here.nvml.error = DriverNotLoadedError("it is not loaded.")
        response = await manager.generate("a", "Bonjour")

        assert response.model == MIXTRAL
        assert response.route.notes == ()
        assert here.asked("/api/show") == 0
    assert here.nvml.reads == 1


async def test_a_cloud_model_costs_no_look_at_the_card() -> None:
    async with place() as here:
        settings = {
            "version": "1.1.0",
            "agent_models": {"a": {"primary": "claude-opus-5-5"}},
            "model_providers": {},
        }
        machine = Machine(
            nvml=here.nvml, cuda=here.cuda, system=FakeSystem(), environ={}
        )
        async with ModelManager(
            settings,
            providers={"anthropic": here.cloud.factory},
            environ={"ANTHROPIC_API_KEY": "k"},
            machine=machine,
        ) as manager:
            await manager.generate("a", "Bonjour")

    assert here.nvml.reads == 0


async def test_a_required_card_that_is_wrong_refuses_local_models() -> None:
    async with place() as here:
        here.environ["CUDA_VISIBLE_DEVICES"] = "0"
        here.cuda.cards = (rtx_5060_ti(),)
        async with here.manager(gpu={"require_gpu": "local"}) as manager:
            response = await manager.generate("a", "Bonjour")
            health = await manager.health()
            with pytest.raises(LocalOnlyUnavailableError) as private:
                await manager.generate("a", "Secret", privacy="local_only")

    assert response.provider == "anthropic"
    reasons = [r.reason for r in response.route.refused if r.code == "gpu"]
    assert reasons
    assert "RTX 5060 Ti" in reasons[0]
    assert rtx_3090().uuid in health.gpu_problem
    assert rtx_3090().uuid in str(health)
    assert "RTX 5060 Ti" in str(private.value.route)
    assert here.asked("/api/chat") == 0


async def test_a_required_card_that_is_right_changes_nothing() -> None:
    async with place() as here, here.manager(gpu={"require_gpu": "local"}) as manager:
        before = manager.explain("a", "Bonjour")
        response = await manager.generate("a", "Bonjour")
        here.load(18 * GIB)
        health = await manager.health()

    assert any("not checked yet" in note for note in before.notes)
    assert response.model == CODER
    assert not health.gpu_problem


async def test_a_server_whose_model_is_not_where_it_says_is_refused() -> None:
    async with place() as here, here.manager(gpu={"require_gpu": "local"}) as manager:
        first = await manager.generate("a", "Bonjour")
        await manager.health()
        second = await manager.generate("a", "Bonjour")

    assert first.model == CODER
    assert second.provider == "anthropic"
    (reason,) = {r.reason for r in second.route.refused if r.code == "gpu"}
    assert "the driver shows 0.0 GiB there" in reason


async def test_what_was_mended_counts_soon() -> None:
    clock = FakeClock()
    async with place() as here:
        here.environ["CUDA_VISIBLE_DEVICES"] = "0"
        async with here.manager(gpu={"require_gpu": "local"}, clock=clock) as manager:
            refused = await manager.generate("a", "Bonjour")
            here.environ["CUDA_VISIBLE_DEVICES"] = "1"
            too_soon = await manager.generate("a", "Bonjour")
            await clock.sleep(15.0)
            later = await manager.generate("a", "Bonjour")

    assert refused.provider == too_soon.provider == "anthropic"
    assert later.model == CODER


async def test_of_two_such_cards_the_chosen_one_works() -> None:
    twin = rtx_3090(index=0, uuid="GPU-" + "7" * 36, bus="00000000:01:00.0")
    async with (
        place(twin, rtx_3090()) as here,
        here.manager(gpu={"require_gpu": "local"}) as manager,
    ):
        response = await manager.generate("a", "Bonjour")

    assert response.model == CODER


async def test_a_card_required_of_everybody_leaves_nobody_without_it() -> None:
    async with place() as here:
        here.nvml.error = DriverNotLoadedError("it is not loaded.")
        async with here.manager(gpu={"require_gpu": True}) as manager:
            with pytest.raises(NoCandidateError) as raised:
                await manager.generate("a", "Bonjour")

    assert {r.code for r in raised.value.route.refused} == {"gpu"}
    assert not here.cloud.attempts


async def test_a_card_that_is_lost_between_two_calls_is_not_used() -> None:
    async with place() as here, here.manager(gpu={"require_gpu": "local"}) as manager:
        first = await manager.generate("a", "Bonjour")
        here.nvml.cards = (rtx_5060_ti(),)
        second = await manager.generate("a", "Bonjour")

    assert first.model == CODER
    assert second.provider == "anthropic"
    assert getattr(second.attempts[0].error, "code", "") == "gpu"


async def test_the_card_of_another_machine_is_not_taken_for_this_ones() -> None:
    async with place() as here:
        providers = {
            "lab": {
                "kind": "ollama",
                "base_url": "http://192.168.7.9:11434",
                "data_zone": "local",
                "models": {CODER: {}},
            }
        }
        async with here.manager(
            gpu={"require_gpu": "local"}, model_providers=providers
        ) as manager:
            await manager.health()
            route = manager.explain("a", "Bonjour")

    (refusal,) = [r for r in route.refused if r.candidate.endpoint == "lab"]
    assert refusal.code == "gpu"
    assert "another machine" in refusal.reason


async def test_who_may_run_partly_on_the_processor_may_be_larger() -> None:
    async with place() as here:
        here.processes.memory_free = 64 * GIB
        async with here.manager(local=MIXTRAL, gpu={"allow_offload": True}) as manager:
            response = await manager.generate("a", "Bonjour")

    assert response.model == MIXTRAL
    assert any("offload" in note for note in response.route.notes)


async def test_what_health_has_seen_is_what_explain_and_the_call_go_by() -> None:
    async with place() as here, here.manager(local=MIXTRAL) as manager:
        await manager.health(local_only=True)
        told = manager.explain("a", "Bonjour")
        named = manager.explain("a", "Bonjour", model=f"ollama/{CODER}")
        response = await manager.generate("a", "Bonjour")

    assert [r.candidate.model for r in told.refused if r.code == "vram"] == [MIXTRAL]
    assert told.candidates == response.route.candidates
    assert any(f"{CODER}: whether it fits" in note for note in named.notes)


async def test_without_a_card_to_be_read_no_note_says_that_it_was_not_asked() -> None:
    async with place() as here, here.manager() as manager:
        here.nvml.error = DriverNotLoadedError("it is not loaded.")
        await manager.health(local_only=True)
        told = manager.explain("a", "Bonjour")

    assert told.notes == ()


@pytest.mark.parametrize(
    ("gpu", "options", "is_asked"),
    [
        ({}, {}, False),
        ({}, {"num_gpu": 2}, False),
        ({}, {"num_gpu": 999}, True),
        ({"allow_offload": True}, {}, True),
    ],
)
async def test_what_a_server_would_load_in_part_is_asked_only_where_it_is_meant(
    gpu: dict[str, Any], options: dict[str, Any], *, is_asked: bool
) -> None:
    async with place(models=(TIGHT,)) as here:
        providers = {
            "ollama": {
                "base_url": here.server.base_url,
                "models": {TIGHT.name: {"options": options}},
            }
        }
        async with here.manager(
            local=TIGHT.name, gpu=gpu, model_providers=providers
        ) as manager:
            response = await manager.generate("a", "Bonjour")

    assert (response.model == TIGHT.name) is is_asked
    remedies = [r.remedy for r in response.route.refused if r.code == "vram"]
    assert bool(remedies) is not is_asked
    assert all("Set num_gpu to 999" in remedy for remedy in remedies)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"CUDA_VISIBLE_DEVICES": rtx_5060_ti().uuid}, "RTX 5060 Ti"),
        ({"CUDA_VISIBLE_DEVICES": "0"}, "RTX 5060 Ti"),
        ({"OLLAMA_VULKAN": "1"}, "Vulkan"),
    ],
)
async def test_a_server_that_was_started_for_another_card_is_refused(
    changes: dict[str, str], told: str
) -> None:
    async with place() as here:
        here.processes.environments[7] |= changes
        async with here.manager(gpu={"require_gpu": "local"}) as manager:
            response = await manager.generate("a", "Bonjour")

    assert response.provider == "anthropic"
    (reason,) = {r.reason for r in response.route.refused if r.code == "gpu"}
    assert told in reason


async def test_a_server_that_nobody_can_look_into_is_asked_and_that_is_said() -> None:
    async with place() as here:
        here.processes.environments.clear()
        async with here.manager(gpu={"require_gpu": "local"}) as manager:
            response = await manager.generate("a", "Bonjour")

    assert response.model == CODER
    assert any("is not checked" in note for note in response.route.notes)


async def test_how_the_server_really_runs_decides_what_fits() -> None:
    async with place() as here:
        here.processes.environments[7]["OLLAMA_NUM_PARALLEL"] = "3000"
        async with here.manager(local=CODER) as manager:
            response = await manager.generate("a", "Bonjour")

    assert CODER in {r.candidate.model for r in response.route.refused}


class Loaded:
    """A server that has a model loaded, and tells how much of it lies on the card."""

    def __init__(self, inner: Any, *, size: int, size_vram: int) -> None:
        self.inner = inner
        self.row = LoadedModel(
            name=SMALL, size=size, size_vram=size_vram, context_length=4096
        )
        self.installed = None

    def open(self, attempt: Attempt, /) -> Any:
        return self.inner.open(attempt)

    async def check(self) -> Any:
        return await self.inner.check()

    async def aclose(self) -> None:
        await self.inner.aclose()

    async def describe(self, model: str) -> Mapping[str, object]:
        keys = {
            "general.architecture": "llama",
            "llama.block_count": 32,
            "llama.context_length": 8192,
            "llama.embedding_length": 4096,
            "llama.feed_forward_length": 14336,
            "llama.attention.head_count": 32,
            "llama.attention.head_count_kv": 8,
            "llama.vocab_size": 128256,
        }
        assert model
        tensor = {"name": "blk.0.ffn_up.weight", "type": "F16", "shape": [3 * GIB]}
        return {"model_info": keys, "tensors": [tensor]}

    async def loaded(self) -> tuple[LoadedModel, ...]:
        return (self.row,)


async def test_a_loaded_model_that_lies_elsewhere_in_part_is_told_of() -> None:
    async with place() as here:
        local = ScriptedProvider()

        def factory(endpoint: Any, **given: Any) -> Any:
            inner = local.factory(endpoint, **given)
            return Loaded(inner, size=8 * GIB, size_vram=2 * GIB)

        manager = here.manager(local=SMALL, factories={"ollama": factory})
        async with manager:
            await manager.generate("a", "one")
            response = await manager.generate("a", "two")

    assert response.model == SMALL
    assert any("75% of it does not lie on the card" in n for n in response.route.notes)
