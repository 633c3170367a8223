from __future__ import annotations

import json
from typing import Any

import pytest

R1 = """
{
  "version": "1.1.0",
  "agent_models": {
    "agent_02_architecte_code_expert": {
      "primary": "claude-3-sonnet-20240229",
      "fallback": "qwen-coder-32b",
      "local": "qwen-coder-32b",
      "prefer_local": true
    }
  },
  "model_providers": {
    "ollama": {
      "base_url": "http://localhost:11434",
      "gpu_device": "1",
      "models": {
        "llama3.1:8b-instruct-q6_k": {},
        "qwen-coder-32b": {},
        "mixtral-8x7b": {}
      }
    }
  },
  "gpu_settings": {
    "cuda_visible_devices": "1", "gpu_layers": -1, "num_gpu": 1,
    "gpu_memory_fraction": 0.9
  },
  "performance_thresholds": {
    "max_response_time_seconds": 60, "min_tokens_per_second": 0.5,
    "max_vram_usage_percent": 95
  }
}
"""


@pytest.fixture
def r1_text() -> str:
    """The users' own file, format 1.1.0, letter by letter."""
    return R1


@pytest.fixture
def r1() -> dict[str, Any]:
    """The users' own file as data, to be changed by a test."""
    data: dict[str, Any] = json.loads(R1)
    return data


@pytest.fixture
def agent(r1: dict[str, Any]) -> dict[str, Any]:
    """The models of the one agent of `r1`."""
    models: dict[str, Any] = r1["agent_models"]["agent_02_architecte_code_expert"]
    return models
