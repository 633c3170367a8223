"""`demo`: ten agents over the real provider code, on simulated servers."""

from __future__ import annotations

import http.client
import json
from collections.abc import Sequence
from contextlib import closing
from decimal import Decimal

import typer

from model_manager.cli._ask import cost_of, failed_before, tokens_of
from model_manager.cli._failures import FAILED
from model_manager.cli._options import AsJson
from model_manager.cli._rehearsal import (
    Turn,
    demo_settings,
    pointed_at,
    rehearse,
    simulated_servers,
)
from model_manager.cli._screen import Column, Listing, Row, say, show, write_json
from model_manager.cli._session import Session, session_of, wait_for

EXAMPLES = """\
[bold]Examples[/bold]
  model-manager demo
  model-manager demo --json

It needs no key, no model and no network, and changes nothing.
"""
_INTRODUCTION = (
    "This demo asks no model. It starts three simulated servers on this machine, which"
    " speak the protocols of Ollama, Anthropic and OpenAI, and lets ten agents ask them"
    " through the library's real providers. Nothing leaves the machine; keys are made"
    " up. Tokens are counted from the simulated texts, and costs are what those tokens"
    " would cost at list prices."
)
_OLLAMA = ("127.0.0.1", 11434)
_PROBE_SECONDS = 0.5
_SECOND_LINE = "\n  "


def demo(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Show ten agents at work on simulated servers, and a server that dies."""
    session = session_of(context)
    version = real_ollama(*_OLLAMA)
    if not as_json:
        say(_INTRODUCTION)
        say()
        say(_about_ollama(version))
        say()
    turns = wait_for(_rehearsal(session, quiet=as_json))
    if as_json:
        write_json(_facts(turns, version))
    else:
        _print(turns)
    raise typer.Exit(0 if all(t.response or t.is_kept_home for t in turns) else FAILED)


def real_ollama(host: str, port: int) -> str | None:
    """Return the version of an Ollama that answers there; `None` if none does."""
    link = http.client.HTTPConnection(host, port, timeout=_PROBE_SECONDS)
    with closing(link):
        try:
            link.request("GET", "/api/version")
            told = json.loads(link.getresponse().read(1000))
            return str(told["version"])
        except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
            return None


def _about_ollama(version: str | None) -> str:
    address = f"{_OLLAMA[0]}:{_OLLAMA[1]}"
    how = (
        "name its models under 'model_providers' in models_config.json, then:"
        " model-manager route AGENT --live, and model-manager ask AGENT PROMPT."
    )
    if version is None:
        return f"No real Ollama answers on {address}. To use one, start it, {how}"
    return (
        f"A real Ollama {version} answers on {address}; the demo leaves it alone. To"
        f" use it, {how}"
    )


async def _rehearsal(session: Session, *, quiet: bool) -> list[Turn]:
    settings = demo_settings()
    async with simulated_servers(settings) as servers:
        config = session.load_quietly(pointed_at(servers, settings))
        return await rehearse(config, servers, say=_ignore if quiet else say)


def _ignore(_: str) -> None:
    """Say nothing: the output is for a program."""


def _print(turns: Sequence[Turn]) -> None:
    columns = (
        Column(f"agent{_SECOND_LINE}route"),
        Column("answered by"),
        Column("tokens\nin + out", justify="right"),
        Column("cost", justify="right"),
        Column("seconds", justify="right"),
    )
    stopped = sum(turn.local_server_up for turn in turns)
    say()
    show(
        Listing(
            columns=columns,
            rows=tuple(map(_row, turns)),
            card=_card,
            titles={0: "(local server up)", stopped: "(local server stopped)"},
        )
    )
    say()
    say(_summary(turns))


def _row(turn: Turn) -> Row:
    response = turn.response
    route = ", ".join(dict.fromkeys(c.endpoint for c in turn.route.candidates))
    agent = turn.agent + _SECOND_LINE + route
    seconds = f"{turn.seconds:.2f}"
    if response is None:
        return (agent, _why_nobody(turn), "-", "-", seconds)
    who = f"{response.provider}/{response.model}"
    failed = failed_before(response)
    if failed:
        endpoints = dict.fromkeys(label.partition("/")[0] for label in failed)
        who += f"{_SECOND_LINE}after {', '.join(endpoints)} failed"
    return (agent, who, tokens_of(response), cost_of(response.cost), seconds)


def _why_nobody(turn: Turn) -> str:
    if turn.is_kept_home:
        return "nobody: the work may not leave"
    return f"nobody: {type(turn.error).__name__}"


def _card(row: Row) -> list[str]:
    agent, who, tokens, cost, seconds = row
    name, _, route = agent.partition(_SECOND_LINE)
    figures = f"{tokens} tokens, {cost}, {seconds} s"
    return [name, who.replace(_SECOND_LINE, ", "), f"{figures}; route: {route}"]


def _summary(turns: Sequence[Turn]) -> str:
    answers = [turn.response for turn in turns if turn.response is not None]
    local = sum(response.is_local for response in answers)
    after = sum(bool(failed_before(response)) for response in answers)
    kept = sum(turn.is_kept_home for turn in turns)
    costs = [response.total_cost for response in answers]
    known = [cost for cost in costs if cost is not None]
    total = cost_of(sum(known, Decimal(0)) if len(known) == len(costs) else None)
    saved = sum((one.saved or Decimal(0) for one in answers), Decimal(0))
    agents = len({turn.agent for turn in turns})
    return (
        f"{agents} agents, {len(turns)} calls, all simulated: {local} answered by the"
        f" local server, {len(answers) - local} by the cloud ({after} of them because"
        f" the local server was gone), {kept} refused rather than sent away."
        f" The tokens would cost {total}; those answered locally would have cost"
        f" {cost_of(saved)} more."
    )


def _facts(turns: Sequence[Turn], version: str | None) -> dict[str, object]:
    return {
        "simulated": True,
        "real_ollama": version,
        "calls": [
            {
                "agent": turn.agent,
                "local_server_up": turn.local_server_up,
                "seconds": turn.seconds,
                "kept_on_this_machine": turn.is_kept_home,
                "error": None if turn.error is None else type(turn.error).__name__,
                "route": turn.route.to_dict(),
                "response": turn.response.to_dict() if turn.response else None,
            }
            for turn in turns
        ],
        "summary": _summary(turns),
    }
