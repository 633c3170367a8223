"""Starts Ollama on the right card, and checks one that runs.

The rule of this room: an environment belongs to the server's process. What is set here
holds for a server that is started with it; of one that runs already, only what was read
counts, and nothing but the variables that are judged is ever looked at.
"""

from model_manager.gpu.ollama._check import check_ollama, judge_server
from model_manager.gpu.ollama._facts import ServerFacts
from model_manager.gpu.ollama._launch import (
    LaunchedOllama,
    LaunchPlan,
    launch_ollama,
    plan_launch,
    run_ollama,
)
from model_manager.gpu.ollama._look import read_ollama
from model_manager.gpu.ollama._scripts import ollama_scripts, write_scripts
from model_manager.gpu.ollama._settings import OllamaSettings
from model_manager.gpu.ollama._variables import (
    OllamaVariable,
    ollama_environment,
    ollama_variables,
)

__all__ = [
    "LaunchPlan",
    "LaunchedOllama",
    "OllamaSettings",
    "OllamaVariable",
    "ServerFacts",
    "check_ollama",
    "judge_server",
    "launch_ollama",
    "ollama_environment",
    "ollama_scripts",
    "ollama_variables",
    "plan_launch",
    "read_ollama",
    "run_ollama",
    "write_scripts",
]
