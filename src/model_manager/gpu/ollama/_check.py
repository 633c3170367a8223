"""Whether a server that runs keeps to the policy's card: every rule, in its order."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from model_manager.errors import GpuError, NvmlError, RequiredGpuMissingError
from model_manager.gpu._cards import Inventory
from model_manager.gpu._here import this_machine
from model_manager.gpu._machine import NvmlPort
from model_manager.gpu._policy import GpuPolicy
from model_manager.gpu._processes import ProcessPort
from model_manager.gpu._verdict import Check, Verdict
from model_manager.gpu.ollama import _environment, _placement
from model_manager.gpu.ollama._facts import ENGINE, ServerFacts
from model_manager.gpu.ollama._look import read_ollama
from model_manager.gpu.ollama._service import Run, run_briefly
from model_manager.gpu.ollama._wire import Fetch, fetch_json

DEFAULT_URL: Final = "http://127.0.0.1:11434"
_AFTER_SERVER: Final = (
    *("version", "cards", "server_environment", "vulkan", "spread", "ignored_names"),
    *("placement", "context_length", "cloud", "exposure"),
)


def check_ollama(
    base_url: str = DEFAULT_URL,
    policy: GpuPolicy | None = None,
    *,
    nvml: NvmlPort | None = None,
    processes: ProcessPort | None = None,
    fetch: Fetch = fetch_json,
    run: Run = run_briefly,
) -> Verdict:
    """Check a server that runs on this machine, and return how each rule went.

    The server is asked, its process found, and of its variables those read that decide
    about cards; no others are looked at. Where models are loaded, what the server says
    of them is held against what the driver shows. Nothing is loaded or changed. It
    takes up to a few seconds.

    Args:
        base_url: Where it listens. A server on another machine is not asked: the
            verdict says so, and is not good.
        policy: Which card; the team's standard where not given.
        nvml: Where the cards are read; this machine's otherwise.
        processes: Where processes are looked at; this machine's otherwise.
        fetch: How the server is asked.
        run: How systemd is asked.

    Raises:
        InvalidRequestError: `base_url` is no URL of a server.
    """
    policy = policy or GpuPolicy()
    facts = read_ollama(base_url, processes=processes, fetch=fetch, run=run)
    if not facts.is_local or facts.problem:
        return _nothing_known(facts, policy)
    problem: NvmlError | None = None
    inventory = Inventory()
    try:
        inventory = (nvml or this_machine().nvml).read()
    except NvmlError as error:
        problem = error
    return judge_server(facts, policy, inventory, problem=problem)


def judge_server(
    facts: ServerFacts,
    policy: GpuPolicy,
    inventory: Inventory,
    *,
    problem: NvmlError | None = None,
) -> Verdict:
    """Judge what is known of a server that answers; pure.

    Args:
        facts: What is known of it.
        policy: Which card.
        inventory: The cards of its machine.
        problem: Why they cannot be read, where they cannot.
    """
    placed = _placement.place(facts, policy, inventory)
    chosen = _environment.chosen(facts, policy, inventory)
    is_proven = placed.gpu is not None
    checks = (
        _server(facts),
        _version(facts),
        _cards(policy, inventory, problem),
        _eased(chosen.check, is_proven=is_proven),
        _eased(_environment.vulkan(facts, policy, inventory), is_proven=is_proven),
        _environment.spread(facts, policy, inventory),
        _environment.ignored_names(facts),
        placed.check,
        _environment.context_length(facts),
        _environment.cloud(facts),
        _environment.exposure(facts),
    )
    return Verdict(policy=policy.name, checks=checks, gpu=chosen.gpu or placed.gpu)


def _nothing_known(facts: ServerFacts, policy: GpuPolicy) -> Verdict:
    if facts.is_local:
        first = Check(
            rule="server",
            status="failed",
            seen=f"no Ollama answers on {facts.base_url}: {facts.problem}",
            remedy="Start it with 'model-manager gpu launch-ollama'.",
            error=GpuError,
        )
        why = "not checked, because no server answers"
    else:
        first = Check(
            rule="server",
            status="skipped",
            seen=f"{facts.base_url} is on another machine",
            remedy="Run 'model-manager gpu check-server' on that machine.",
        )
        why = "not checked: only the machine itself can tell"
    rest = (Check(rule=rule, status="skipped", seen=why) for rule in _AFTER_SERVER)
    return Verdict(policy=policy.name, checks=(first, *rest))


def _eased(check: Check, *, is_proven: bool) -> Check:
    """Return a rule that need not hold where the driver itself shows the right card."""
    if check.status != "skipped" or not is_proven:
        return check
    seen = f"{check.seen}; the models that are loaded now sit right"
    return replace(check, seen=seen, is_needed=False)


def _server(facts: ServerFacts) -> Check:
    who = "" if facts.pid is None else f", process {facts.pid}"
    seen = f"Ollama {facts.version} answers on {facts.base_url}{who}"
    return Check(rule="server", status="passed", seen=seen)


def _version(facts: ServerFacts) -> Check:
    numbers = facts.version_numbers
    wanted = ".".join(map(str, ENGINE))
    expected = f"{wanted} or later"
    if numbers is None:
        seen = f"version {facts.version} was built by hand: judged as the newest"
        return Check(rule="version", status="warning", seen=seen, expected=expected)
    if numbers >= ENGINE:
        seen = f"version {facts.version}"
        return Check(rule="version", status="passed", seen=seen, expected=expected)
    return Check(
        rule="version",
        status="warning",
        seen=f"version {facts.version} chooses cards by older rules",
        expected=expected,
        remedy="Update Ollama.",
    )


def _cards(policy: GpuPolicy, inventory: Inventory, problem: NvmlError | None) -> Check:
    expected = f"one {policy.name}"
    if problem is not None:
        return Check(
            rule="cards",
            status="failed",
            seen=problem.what.rstrip("."),
            expected=expected,
            remedy=problem.remedy,
            error=type(problem),
        )
    seen = ", ".join(gpu.name for gpu in inventory.gpus) or "no card"
    if not any(policy.allows(gpu) for gpu in inventory.gpus):
        return Check(
            rule="cards",
            status="failed",
            seen=f"no {policy.name} is there: {seen}",
            expected=expected,
            remedy="See 'model-manager gpu check'.",
            error=RequiredGpuMissingError,
        )
    if inventory.unreadable:
        seen += f", and {len(inventory.unreadable)} that cannot be read"
    return Check(rule="cards", status="passed", seen=seen, expected=expected)
