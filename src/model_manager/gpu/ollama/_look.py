"""Looks at a server that runs: asks it, finds its process, reads its variables."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from model_manager.errors import InvalidRequestError
from model_manager.gpu._processes import Processes, ProcessPort
from model_manager.gpu.ollama._facts import ServerFacts, Source
from model_manager.gpu.ollama._service import Run, Service, read_service, run_briefly
from model_manager.gpu.ollama._settings import (
    DEFAULT_PORT,
    address_of,
    is_loopback,
    url_of,
)
from model_manager.gpu.ollama._variables import HOST, JUDGED, trimmed
from model_manager.gpu.ollama._wire import Fetch, fetch_json, place_of
from model_manager.types import LoadedModel

_PROGRAM: Final = "ollama"
_SERVES: Final = "serve"
_FORWARDERS: Final = frozenset(
    {
        *(
            "docker-proxy",
            "com.docker.backend.exe",
            "rootlessport",
            "pasta",
            "slirp4netns",
        ),
        *("conmon", "wslrelay.exe", "ssh", "ssh.exe", "sshd", "socat", "kubectl"),
    }
)
"""Programs that listen for a server that is elsewhere."""
_LOOK_AS_ROOT: Final = "its variables can be read by its own user and by root only"


def read_ollama(
    base_url: str,
    *,
    processes: ProcessPort | None = None,
    fetch: Fetch = fetch_json,
    run: Run = run_briefly,
) -> ServerFacts:
    """Return what can be known of a server; it takes up to a few seconds.

    Args:
        base_url: Where it listens. On another machine nothing is asked.
        processes: Where processes are looked at; this machine's otherwise.
        fetch: How the server is asked.
        run: How systemd is asked.

    Raises:
        InvalidRequestError: `base_url` is no URL of a server.
    """
    host, port = place_of(base_url)
    url = url_of(host, port)
    if not is_loopback(host):
        return ServerFacts(base_url=url, is_local=False)
    version, problem = _version(url, fetch)
    if problem:
        return ServerFacts(base_url=url, problem=problem)
    found = _Search(processes or Processes(), run).server(port)
    return ServerFacts(
        base_url=url,
        version=version,
        models=_models(url, fetch),
        cloud_disabled=_cloud_disabled(url, fetch),
        pid=found.pid,
        pids=found.pids,
        environment=found.environment,
        source=found.source,
        is_complete=found.is_complete,
        why_unknown=found.why,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    pid: int | None = None
    pids: frozenset[int] = frozenset()
    environment: Mapping[str, str] | None = None
    source: Source | None = None
    is_complete: bool = False
    why: str = ""


class _Search:
    """Finds a server's process, and the variables that it was started with."""

    def __init__(self, processes: ProcessPort, run: Run) -> None:
        self._processes = processes
        self._run = run

    def server(self, port: int) -> _Found:
        """Return what is found of the server that listens on a port."""
        listener = self._processes.listener(port)
        name = None if listener is None else self._processes.name(listener)
        if name is not None and name.lower() in _FORWARDERS:
            return _Found(why=f"{name} listens there for a server that is elsewhere")
        service = read_service(self._run)
        pid = listener or self._by_name(port) or _main_process(service, port)
        if pid is None:
            return _Found(why=f"its process cannot be found; {_LOOK_AS_ROOT}")
        pids = self._processes.family(pid)
        environment = self._processes.environ(pid, JUDGED)
        if environment is not None:
            return _Found(
                pid=pid,
                pids=pids,
                environment=environment,
                source="process",
                is_complete=True,
            )
        return self._by_service(pid, pids, service)

    def _by_name(self, port: int) -> int | None:
        """Return the one server of this name that can be meant, if it is one."""
        found = self._processes.named(_PROGRAM, argument=_SERVES)
        known = {pid: self._processes.environ(pid, (HOST,)) for pid in found}
        fitting = [
            pid
            for pid, environment in known.items()
            if environment is not None and _port_of(environment) == port
        ]
        if len(fitting) == 1:
            return fitting[0]
        is_usual = port == DEFAULT_PORT and len(found) == 1
        return found[0] if is_usual and known[found[0]] is None else None

    def _by_service(
        self, pid: int, pids: frozenset[int], service: Service | None
    ) -> _Found:
        if service is None or service.pid != pid:
            return _Found(pid=pid, pids=pids, why=_LOOK_AS_ROOT)
        started = self._processes.started(pid)
        changed = service.changed
        if started is None or changed is None or changed > started:
            why = "its unit was changed after it was started"
            if started is None or changed is None:
                why = "it is not known whether its unit was changed since its start"
            return _Found(pid=pid, pids=pids, why=f"{why}; {_LOOK_AS_ROOT}")
        return _Found(
            pid=pid,
            pids=pids,
            environment=service.environment,
            source="service",
            is_complete=not service.has_files,
            why=f"a file of variables is not read; {_LOOK_AS_ROOT}"
            if service.has_files
            else "",
        )


def _main_process(service: Service | None, port: int) -> int | None:
    if service is None or _port_of(service.environment) != port:
        return None
    return service.pid


def _port_of(environment: Mapping[str, str]) -> int | None:
    given = trimmed(environment.get(HOST, ""))
    with suppress(InvalidRequestError):
        return address_of(given.removeprefix("http://").rstrip("/") or "127.0.0.1")[1]
    return None


def _version(url: str, fetch: Fetch) -> tuple[str | None, str]:
    try:
        told = fetch(f"{url}/api/version")
    except (OSError, ValueError) as error:
        words = getattr(error, "strerror", None) or str(error)
        return None, words.rstrip(".").lower() or type(error).__name__
    version = told.get("version") if isinstance(told, dict) else None
    if not isinstance(version, str):
        return None, "what answers is not Ollama"
    return version[:40], ""


def _models(url: str, fetch: Fetch) -> tuple[LoadedModel, ...] | None:
    told = _asked(f"{url}/api/ps", fetch)
    listed = told.get("models") if isinstance(told, dict) else None
    if not isinstance(listed, list):
        return None
    return tuple(_model(entry) for entry in listed if isinstance(entry, dict))


def _model(entry: Mapping[str, object]) -> LoadedModel:
    return LoadedModel(
        name=str(entry.get("name") or entry.get("model") or "?")[:200],
        size=_count(entry.get("size")),
        size_vram=_count(entry.get("size_vram")),
        context_length=_count(entry.get("context_length")),
    )


def _count(value: object) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if is_count and isinstance(value, int) else None


def _cloud_disabled(url: str, fetch: Fetch) -> bool | None:
    told = _asked(f"{url}/api/status", fetch)
    cloud = told.get("cloud") if isinstance(told, dict) else None
    disabled = cloud.get("disabled") if isinstance(cloud, dict) else None
    return disabled if isinstance(disabled, bool) else None


def _asked(url: str, fetch: Fetch) -> object:
    with suppress(OSError, ValueError):
        return fetch(url)
    return None
