"""The variables that keep work on the one card: what they are, and when they count."""

from __future__ import annotations

from dataclasses import replace

import pytest

from model_manager.config import load_config
from model_manager.errors import CudaInitializedError
from model_manager.gpu import (
    GpuPolicy,
    Inventory,
    apply_gpu_environment,
    gpu_environment,
    policy_of,
)
from model_manager.testing import FakeCuda, rtx_3090, rtx_5060_ti

MINE, SCREEN = rtx_3090(), rtx_5060_ti()
QUIET = FakeCuda()


def test_the_standard_asks_for_the_second_card_of_the_bus() -> None:
    assert gpu_environment() == {
        "CUDA_VISIBLE_DEVICES": "1",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "PYTORCH_CUDA_ALLOC_CONF": "max_split_size_mb:1024",
        "PYTORCH_ALLOC_CONF": "max_split_size_mb:1024",
    }


def test_a_pinned_policy_names_the_card_by_its_uuid() -> None:
    policy = GpuPolicy().pinned(Inventory(gpus=(SCREEN, MINE)))

    assert gpu_environment(policy)["CUDA_VISIBLE_DEVICES"] == MINE.uuid


def test_of_two_cards_that_fit_none_is_guessed() -> None:
    twin = rtx_3090(uuid="GPU-0", bus="00000000:09:00.0")

    assert GpuPolicy().pinned(Inventory(gpus=(MINE, twin))).uuid is None


def test_the_variables_are_set_once_and_other_settings_stay() -> None:
    environ = {"PYTORCH_CUDA_ALLOC_CONF": "backend:native", "HOME": "/home/x"}

    first = apply_gpu_environment(environ=environ, cuda=QUIET)
    after_first = dict(environ)
    second = apply_gpu_environment(environ=environ, cuda=QUIET)

    assert first == second
    assert environ == after_first
    assert environ["HOME"] == "/home/x"
    assert environ["PYTORCH_CUDA_ALLOC_CONF"] == (
        "backend:native,max_split_size_mb:1024"
    )


@pytest.mark.parametrize("shown", [(SCREEN,), (SCREEN, MINE), ()])
def test_variables_that_come_after_cuda_was_started_are_refused(
    shown: tuple[object, ...],
) -> None:
    environ: dict[str, str] = {}
    cuda = FakeCuda(in_process=shown)  # type: ignore[arg-type] # a table of cards

    with pytest.raises(CudaInitializedError, match="too late") as raised:
        apply_gpu_environment(environ=environ, cuda=cuda)

    assert environ == {}
    assert "restart the kernel" in raised.value.remedy


def test_a_cuda_that_shows_the_card_alone_is_left_in_peace() -> None:
    environ: dict[str, str] = {}

    apply_gpu_environment(environ=environ, cuda=FakeCuda(in_process=(MINE,)))

    assert environ["CUDA_VISIBLE_DEVICES"] == "1"


def test_another_such_card_is_not_the_one_that_is_meant() -> None:
    policy = GpuPolicy(uuid="GPU-another")

    with pytest.raises(CudaInitializedError):
        apply_gpu_environment(policy, environ={}, cuda=FakeCuda(in_process=(MINE,)))


def test_the_configuration_makes_the_policy() -> None:
    config = load_config(
        {
            "version": "1.1.0",
            "agent_models": {},
            "defaults": {"primary": "claude-opus-5-5"},
            "model_providers": {},
            "gpu_settings": {
                "cuda_visible_devices": "0",
                "allocator": "",
                "min_torch": "",
                "min_driver": "580.10",
                "cards": {
                    "NVIDIA H200": {
                        "pci_device_ids": ["0x2335"],
                        "compute_capability": "9.0",
                        "min_memory_gib": 130,
                    }
                },
            },
        }
    )
    policy = policy_of(config.gpu_settings)

    assert gpu_environment(policy) == {
        "CUDA_VISIBLE_DEVICES": "0",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }
    assert policy.name == "NVIDIA H200"
    assert policy.min_driver == (580, 10)
    assert policy.min_torch is None
    assert policy.cards[0].pci_device_ids == {0x2335}
    assert not policy.allows(MINE)


def test_a_card_named_by_uuid_in_the_configuration_is_the_only_one() -> None:
    config = load_config(
        {
            "version": "1.1.0",
            "agent_models": {},
            "defaults": {"primary": "claude-opus-5-5"},
            "model_providers": {},
            "gpu_settings": {"cuda_visible_devices": MINE.uuid.upper()},
        }
    )
    policy = policy_of(config.gpu_settings)

    assert policy.allows(MINE)
    assert not policy.allows(replace(MINE, uuid=SCREEN.uuid))
