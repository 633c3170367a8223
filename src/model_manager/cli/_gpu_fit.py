"""`gpu fit`: whether models fit on the card, before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Final

import typer

from model_manager.cli._failures import CONFIGURATION
from model_manager.cli._gpu_models import Files, Server, Source, Store
from model_manager.cli._gpu_policy import config_in_force
from model_manager.cli._options import AsJson, ConfigPath
from model_manager.cli._screen import TIE, Column, Listing, Row, say, show, write_json
from model_manager.config import Config
from model_manager.errors import InvalidRequestError, NvmlError, RequiredGpuMissingError
from model_manager.gpu import Gpu, GpuPolicy, Machine, policy_of, this_machine
from model_manager.gpu.vram import CardMemory, Fit
from model_manager.gpu.vram import fit as judge

EXAMPLES = """\
[bold]Examples[/bold]
  model-manager gpu fit
  model-manager gpu fit llama3:8b-instruct-q6_k --num-ctx 8192
  model-manager gpu fit --ollama-models ~/.ollama/models --memory 24
  model-manager gpu fit --gguf model.gguf --kv-cache-type q8_0 --json

Without a model it is all that are installed. Nothing is loaded or pulled.
Exit code 3 says that one does not wholly fit, or that nobody can tell of one
that was named. What is asked is whether a model fits with the card to itself;
--now asks of the card as it is.
"""
Models = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="MODEL",
        help="Models, as the server names them; without one all.",
        show_default=False,
    ),
]
NumCtx = Annotated[
    int | None,
    typer.Option(
        "--num-ctx",
        "-n",
        metavar="TOKENS",
        min=1,
        help="The context of each slot; by default what the server would take.",
        show_default=False,
    ),
]
Cache = Annotated[
    str | None,
    typer.Option(
        "--kv-cache-type",
        metavar="TYPE",
        help="How the server keeps its cache: f16, q8_0, q4_0 ...",
        show_default=False,
    ),
]
Parallel = Annotated[
    int | None,
    typer.Option(
        "--parallel",
        metavar="SLOTS",
        min=1,
        help="Answers that the server computes at once.",
        show_default=False,
    ),
]
Gguf = Annotated[
    list[Path] | None,
    typer.Option("--gguf", metavar="FILE", help="A model's file.", show_default=False),
]
OllamaModels = Annotated[
    Path | None,
    typer.Option(
        "--ollama-models",
        metavar="DIR",
        help="Ollama's folder of models; no server is asked then.",
        show_default=False,
    ),
]
ServerUrl = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="URL",
        help="An Ollama server on this machine; by default the configuration's.",
        show_default=False,
    ),
]
Memory = Annotated[
    float | None,
    typer.Option(
        "--memory",
        metavar="GIB",
        min=0,
        help="The card's memory, instead of asking the card of this machine.",
        show_default=False,
    ),
]
Now = Annotated[
    bool,
    typer.Option(
        "--now", help="Count what is on the card now; the server's models go."
    ),
]
_GIB: Final = 1024**3
_HERE: Final = "http://127.0.0.1:11434"
_GOOD: Final = frozenset({"fits", "unknown"})
_WORDS: Final = {
    "fits": "fits",
    "tight": "tight",
    "offload": "in part",
    "does_not_fit": "NO",
    "unknown": "unknown",
}
_COLUMNS: Final = (
    Column("model"),
    Column("fits"),
    *(Column(words, "right") for words in ("GiB", "context", "up to", "tok/s")),
)
_NONE: Final = "-"
_TIED_NAMES: Final = 80
"""Columns of a name of which the rest is left out."""


def machine() -> Machine:
    """Return the machine whose card is asked; tests put another one here."""
    return this_machine()


def fit(
    context: typer.Context,
    models: Models = None,
    *,
    num_ctx: NumCtx = None,
    kv_cache_type: Cache = None,
    parallel: Parallel = None,
    gguf: Gguf = None,
    ollama_models: OllamaModels = None,
    server: ServerUrl = None,
    memory: Memory = None,
    now: Now = False,
    as_json: AsJson = False,
    config: ConfigPath = None,
) -> None:
    """Say whether models fit on the card, and what would make them fit."""
    _refuse_together(models=bool(models), gguf=bool(gguf), store=bool(ollama_models))
    if now and (memory is not None or gguf or ollama_models):
        message = "--now asks a card and a server, and others were named instead."
        raise InvalidRequestError(message, remedy="Leave --now out, or the others.")
    loaded = config_in_force(context, config)
    source = _source(gguf, ollama_models, server=_address(server, loaded))
    question = _question(loaded, num_ctx, kv_cache_type=kv_cache_type)
    if parallel is not None:
        question = replace(question, parallel=parallel)
    card = _card(loaded, source, memory=memory, now=now)
    names = models or [str(path) for path in gguf or ()]
    found = list(_answers(question, source, card=card, names=names))
    if as_json:
        write_json({"card": asdict(card), "models": [each.to_dict() for each in found]})
    else:
        _print(found, card, is_one=len(names) == 1)
    # Whoever names a model wants to be sure of it; in a list of all some are unknown.
    good = {"fits"} if names else _GOOD
    if any(each.state not in good for each in found):
        raise typer.Exit(CONFIGURATION)


def _refuse_together(*, models: bool, gguf: bool, store: bool) -> None:
    """Refuse a call that says in two ways what is asked about.

    Raises:
        InvalidRequestError: It does.
    """
    if gguf and (models or store):
        message = "a file was named, and models or a folder of models besides."
        remedy = "Give --gguf for each file, or names of models, and not both."
        raise InvalidRequestError(message, remedy=remedy)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """How the models are to be loaded."""

    num_ctx: int | None
    parallel: int
    cache: str


def _question(
    loaded: Config | None, num_ctx: int | None, *, kv_cache_type: str | None
) -> _Question:
    settings = loaded.gpu_settings if loaded is not None else None
    if settings is None:
        return _Question(num_ctx=num_ctx, parallel=1, cache=kv_cache_type or "f16")
    return _Question(
        num_ctx=num_ctx or settings.context_length,
        parallel=settings.num_parallel or 1,
        cache=kv_cache_type or settings.kv_cache_type or "f16",
    )


def _address(server: str | None, loaded: Config | None) -> str | None:
    """Return the server that is meant; `None` where the usual one is."""
    if server is not None or loaded is None:
        return server
    for endpoint in loaded.endpoints.values():
        if endpoint.kind == "ollama" and endpoint.is_on_this_machine:
            return endpoint.base_url
    return None


def _source(
    gguf: Sequence[Path] | None, folder: Path | None, *, server: str | None
) -> Source:
    if gguf:
        return Files(gguf)
    if folder is not None:
        return Store(folder.expanduser())
    return Server(server or _HERE)


def _card(
    loaded: Config | None, source: Source, *, memory: float | None, now: bool
) -> CardMemory:
    """Return the card that is asked about.

    Raises:
        NvmlError: Nobody can tell what cards there are.
        RequiredGpuMissingError: The policy's card is not among them.
    """
    percent = 100.0 if loaded is None else loaded.max_vram_percent
    if memory is not None:
        total = int(min(memory, 2**20) * _GIB)
        return CardMemory(total=total, max_usage_percent=percent)
    asked = machine()
    policy = policy_of(loaded.gpu_settings if loaded is not None else None)
    gpu = _gpu_of(asked, policy)
    card = CardMemory.of(
        gpu,
        evictable=source.loaded_bytes() if now else 0,
        max_usage_percent=percent,
        host_free=asked.processes.available_memory(),
    )
    return card if now else replace(card, free=None)


def _gpu_of(asked: Machine, policy: GpuPolicy) -> Gpu:
    instead = "or say how much memory the card has: --memory 24."
    problem: tuple[type[NvmlError], str, str] | None = None
    try:
        cards = asked.nvml.read().gpus
    except NvmlError as error:
        problem = type(error), error.what, f"{error.remedy.rstrip('.')}; {instead}"
    if problem is not None:
        kind, what, remedy = problem
        raise kind(what, remedy=remedy)
    found = [gpu for gpu in cards if policy.allows(gpu)]
    if len(found) != 1:
        seen = ", ".join(gpu.name for gpu in cards) or "none"
        message = f"the policy {policy.name} allows {len(found)} of the cards: {seen}."
        remedy = f"See 'model-manager gpu check', {instead}"
        raise RequiredGpuMissingError(message, remedy=remedy)
    return found[0]


def _answers(
    question: _Question, source: Source, *, card: CardMemory, names: Sequence[str]
) -> Iterator[Fit]:
    """Yield an answer for each model; one that cannot be read stops no list."""
    for name in names or source.names():
        try:
            shape = source.shape(name)
        except InvalidRequestError as error:
            if names:
                raise
            yield Fit(model=name, state="unknown", reserve=0, unknown=(error.what,))
            continue
        yield judge(
            shape,
            card,
            num_ctx=question.num_ctx,
            kv_cache_type=question.cache,
            parallel=question.parallel,
            measured=source.measured(
                name, parallel=question.parallel, cache=question.cache
            ),
        )


def _print(found: Sequence[Fit], card: CardMemory, *, is_one: bool) -> None:
    if not found:
        say("No models are installed.")
        return
    say(_heading(card, found))
    say()
    if is_one:
        first, *lines = str(found[0]).splitlines()
        say(first, style="bold" if found[0].state in _GOOD else "bold red")
        for line in lines:
            say(line, hang=" " * 10)
        return
    show(Listing(columns=_COLUMNS, rows=tuple(map(_row, found)), card=_card_of))
    remarks = [line for each in found for line in _remarks(each)]
    if remarks:
        say()
    for line in remarks:
        say(line, hang="  ")


def _heading(card: CardMemory, found: Sequence[Fit]) -> str:
    total = _NONE if card.total is None else f"{card.total / _GIB:.1f}"
    budget = next((each.budget for each in found if each.budget is not None), None)
    room = _NONE if budget is None else f"{budget / _GIB:.1f}"
    share = card.max_usage_percent
    limit = f", at most {share:g} % of it used" if share < 100 else ""  # noqa: PLR2004 - all of it
    state = "as it is now" if card.free is not None else "with nothing else on it"
    return f"A card of {total} GiB{limit}, {state}: {room} GiB for a model."


def _row(found: Fit) -> Row:
    need = found.needed if found.needed is not None else found.weights
    at_least = ">" if found.needed is None and need is not None else ""
    speed = found.expected_tokens_per_second
    return (
        found.model[:_TIED_NAMES],
        _WORDS[found.state],
        _NONE if need is None else f"{at_least}{need / _GIB:.1f}",
        _NONE if found.num_ctx is None else str(found.num_ctx),
        _NONE if found.max_num_ctx is None else str(found.max_num_ctx),
        _NONE if speed is None else f"{speed:.0f}",
    )


def _card_of(row: Row) -> list[str]:
    model, state, need, tokens, longest, speed = row
    words = [state, f"{need} GiB", f"context {tokens}", f"up to {longest}"]
    if speed != _NONE:
        words.append(f"{speed} tok/s")
    return [model, ", ".join(word.replace(" ", TIE) for word in words)]


def _remarks(found: Fit) -> Iterator[str]:
    """Yield what to say of a model below the table."""
    if found.unknown:
        yield f"{found.model}: {'; '.join(found.unknown)}"
    if found.advice:
        yield f"{found.model}: {'; or '.join(found.advice)}"
