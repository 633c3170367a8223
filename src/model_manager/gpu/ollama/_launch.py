"""Starts an Ollama server on the policy's card, and on no other."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, Self, TypeAlias

from model_manager.errors import (
    GpuError,
    GpuNotCheckedError,
    NvmlError,
    OllamaLaunchError,
)
from model_manager.gpu._machine import Machine
from model_manager.gpu._policy import GpuPolicy
from model_manager.gpu._processes import Processes, ProcessPort
from model_manager.gpu._verdict import Verdict
from model_manager.gpu.ollama._child import Child, Relay, Show, show_on_stderr
from model_manager.gpu.ollama._settings import OllamaSettings
from model_manager.gpu.ollama._variables import (
    OllamaVariable,
    ollama_variables,
    server_environment,
)
from model_manager.gpu.ollama._wire import fetch_json

Guard: TypeAlias = Callable[[GpuPolicy, Machine], Verdict]
"""What decides whether the card may be used, such as `check_gpu`."""

_PROGRAM: Final = "ollama"
_RULE: Final = "server"
_CONNECT_SECONDS: Final = 1.0
_POLL_SECONDS: Final = 0.1
_STOP_SECONDS: Final = 10.0
READY_SECONDS: Final = 30.0
"""How long a server may take until it answers; it looks for cards first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchPlan:
    """What a launch would do."""

    policy: GpuPolicy
    """With the UUID of its card, where NVML shows exactly one that it allows."""
    settings: OllamaSettings
    variables: tuple[OllamaVariable, ...]
    environment: Mapping[str, str] = field(repr=False)
    """All that the server gets: this process's own, with the variables, and without
    what would undo them."""
    program: str | None
    """The server's file; `None` where it is not on PATH."""
    verdict: Verdict | None
    """What the guard says of that environment; `None` where it was not asked."""


class LaunchedOllama:
    """A server that was started here and answers; `with` ends it."""

    def __init__(self, child: Child, *, plan: LaunchPlan, version: str) -> None:
        """Hold a server that answers."""
        self._child = child
        self.plan = plan
        self.version = version

    @property
    def pid(self) -> int:
        """The number of its process."""
        return self._child.pid

    @property
    def base_url(self) -> str:
        """Where it answers."""
        return self.plan.settings.base_url

    def wait(self) -> int:
        """Wait until it ends, and return its exit code."""
        return self._child.wait()

    def stop(self) -> int:
        """End it, and return its exit code."""
        return self._child.stop(seconds=_STOP_SECONDS)

    def __enter__(self) -> Self:
        """Return the server itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.stop()


def plan_launch(
    policy: GpuPolicy,
    settings: OllamaSettings | None = None,
    *,
    machine: Machine,
    guard: Guard | None,
) -> LaunchPlan:
    """Return what a launch would do, and what the guard says of it; starts nothing.

    Args:
        policy: Which card. It is pinned by the UUID that NVML tells.
        settings: How the server is to run.
        machine: The machine, whose `environ` the server's begins with.
        guard: Asked with the environment that the server would get, without the
            rules about PyTorch, which a server does not use. `None` asks nobody.

    Raises:
        InvalidRequestError: The policy does not name one card.
    """
    chosen = settings or OllamaSettings()
    pinned = policy
    # Without NVML the guard refuses; where it is not asked, the number must do.
    with suppress(NvmlError):
        pinned = policy.pinned(machine.nvml.read())
    variables = ollama_variables(pinned, chosen)
    environment = server_environment(machine.environ, variables)
    verdict: Verdict | None = None
    if guard is not None:
        rules = replace(pinned, allocator=None, min_torch=None)
        verdict = guard(rules, replace(machine, environ=environment))
    return LaunchPlan(
        policy=pinned,
        settings=chosen,
        variables=variables,
        environment=MappingProxyType(environment),
        program=shutil.which(_PROGRAM, path=environment.get("PATH")),
        verdict=verdict,
    )


def launch_ollama(
    plan: LaunchPlan,
    *,
    processes: ProcessPort | None = None,
    show: Show = show_on_stderr,
    seconds: float = READY_SECONDS,
) -> LaunchedOllama:
    """Start a server, and return it once it answers. Nothing is downloaded.

    Args:
        plan: From `plan_launch`.
        processes: Where it is seen who holds the port; this machine otherwise.
        show: Gets every line that the server writes; they go to stderr otherwise.
        seconds: How long it may take until it answers.

    Raises:
        GpuError: The guard refuses the card; its own error says why.
        OllamaLaunchError: `ollama` is not on PATH or cannot be started, something
            listens on its port already, or it ended or stayed silent instead of
            answering. Nothing that was started then still runs.
    """
    child = _start(plan, processes=processes or Processes(), show=show)
    try:
        version = _version_of(child, plan, seconds)
    except BaseException:
        child.stop(seconds=_STOP_SECONDS)
        raise
    return LaunchedOllama(child, plan=plan, version=version)


def run_ollama(
    plan: LaunchPlan,
    *,
    on_ready: Callable[[LaunchedOllama], object],
    processes: ProcessPort | None = None,
    show: Show = show_on_stderr,
    seconds: float = READY_SECONDS,
) -> int:
    """Start a server, stay with it, and return its exit code when it has ended.

    An interrupt or a request to end that this process gets is passed on to the server,
    from its start on. `on_ready` is called once it answers; the rest is as in
    `launch_ollama`.

    Raises:
        GpuError: As `launch_ollama`.
    """
    with Relay() as relay:
        child = _start(plan, processes=processes or Processes(), show=show)
        try:
            relay.to(child)
            version = _version_of(child, plan, seconds)
            on_ready(LaunchedOllama(child, plan=plan, version=version))
            return child.wait()
        except GpuError:
            if relay.received is None:
                raise
            # It was told to end before it answered, and did.
            return child.stop(seconds=_STOP_SECONDS)
        finally:
            if child.code is None:
                child.stop(seconds=_STOP_SECONDS)


def _start(plan: LaunchPlan, *, processes: ProcessPort, show: Show) -> Child:
    _refuse_by(plan.verdict)
    if plan.program is None:
        message = "'ollama' is not on PATH, so no server can be started."
        raise OllamaLaunchError(
            message,
            remedy="Install Ollama (ollama.com), or add its folder to PATH.",
            rule=_RULE,
        )
    _refuse_a_taken_port(plan.settings, processes)
    what = ""
    try:
        return Child(plan.program, plan.environment, show=show)
    except OSError as error:
        what = (error.strerror or str(error)).lower()
    message = f"{plan.program} cannot be started: {what}."
    raise OllamaLaunchError(message, remedy="Install Ollama again.", rule=_RULE)


def _refuse_by(verdict: Verdict | None) -> None:
    if verdict is None or verdict.passed:
        return
    verdict.raise_for_failure()
    message = f"{verdict.policy}: it is not certain which card would be used."
    raise GpuNotCheckedError(
        message, remedy="See 'model-manager gpu check'.", verdict=verdict
    )


def _refuse_a_taken_port(settings: OllamaSettings, processes: ProcessPort) -> None:
    host, port = settings.address
    try:
        with socket.create_connection((host, port), timeout=_CONNECT_SECONDS):
            pass
    except OSError:
        return
    pid = processes.listener(port)
    name = None if pid is None else processes.name(pid)
    who = "something" if name is None else f"{name}, process {pid},"
    message = f"{who} listens on {settings.base_url} already."
    raise OllamaLaunchError(
        message,
        remedy="Stop it ('sudo systemctl stop ollama', or quit the Ollama app), or"
        f" check it: model-manager gpu check-server {settings.base_url}",
        rule=_RULE,
    )


def _version_of(child: Child, plan: LaunchPlan, seconds: float) -> str:
    """Return the version of a server once it answers."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if child.code is not None:
            words = child.last_words()
            said = f" Its last words: {words}" if words else ""
            message = f"Ollama ended with code {child.code} before it answered.{said}"
            raise OllamaLaunchError(message, remedy="Mend what it says.", rule=_RULE)
        with suppress(OSError, ValueError):
            told = fetch_json(f"{plan.settings.base_url}/api/version")
            if isinstance(told, dict) and child.code is None:
                child.forget_words()
                return str(told.get("version", "unknown"))
        time.sleep(_POLL_SECONDS)
    message = f"Ollama did not answer on {plan.settings.base_url} in {seconds:g} s."
    raise OllamaLaunchError(
        message, remedy="See what it wrote, and try again.", rule=_RULE
    )
