"""`ask`: one prompt, one answer."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import typer

from model_manager import ModelManager, Stream
from model_manager.cli._failures import story_of
from model_manager.cli._options import (
    Agent,
    AsJson,
    ConfigPath,
    LocalOnly,
    Model,
    PromptFile,
    System,
    Task,
    Timeout,
)
from model_manager.cli._screen import note, write, write_json
from model_manager.cli._session import session_of, wait_for
from model_manager.config import Config
from model_manager.errors import InvalidRequestError
from model_manager.types import Privacy, Response, StreamReset, TextDelta

EXAMPLES = """\
[bold]Examples[/bold]
  model-manager ask agent_02_architecte_code_expert "Refactor this" -t code
  model-manager ask agent_02_architecte_code_expert --file prompt.txt --stream
  git diff | model-manager ask agent_05_maitre_tests_validation - --json
  model-manager ask agent_04_expert_securite_crypto "Explain" --local-only

The answer goes to stdout; who answered, tokens, cost and time go to stderr.
"""
Prompt = Annotated[
    str | None,
    typer.Argument(
        metavar="PROMPT|-",
        help="What to ask; '-' reads standard input.",
        show_default=False,
    ),
]
Streamed = Annotated[
    bool,
    typer.Option(
        "--stream",
        help="Print the answer as it comes. One that breaks off begins again, below "
        "what came so far; stderr says so.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked, as the command line gave it."""

    agent: str
    prompt: str
    task: str | None = None
    system: str | None = None
    timeout: float | None = None
    model: str | None = None
    local_only: bool = False
    verbose: bool = False
    """Whether stderr tells of every attempt."""

    @property
    def privacy(self) -> Privacy | None:
        """What the call demands of its own; the configuration may demand more."""
        return "local_only" if self.local_only else None


def ask(
    context: typer.Context,
    agent: Agent,
    prompt: Prompt = None,
    *,
    file: PromptFile = None,
    task: Task = None,
    system: System = None,
    model: Model = None,
    local_only: LocalOnly = False,
    stream: Streamed = False,
    timeout: Timeout = None,
    as_json: AsJson = False,
    config: ConfigPath = None,
) -> None:
    """Ask an agent, and print its answer."""
    _require_one_form(stream=stream, as_json=as_json)
    session = session_of(context)
    loaded = session.load(config)
    question = Question(
        agent=agent,
        prompt=prompt_text(prompt, file),
        task=task,
        system=system,
        timeout=timeout,
        model=model,
        local_only=local_only,
        verbose=session.verbose,
    )
    wait_for(
        _streamed(loaded, question)
        if stream
        else _whole(loaded, question, as_json=as_json)
    )


def _require_one_form(*, stream: bool, as_json: bool) -> None:
    if stream and as_json:
        message = "'--stream' and '--json' exclude each other: JSON is printed whole."
        raise typer.BadParameter(message)


def prompt_text(prompt: str | None, file: Path | None) -> str:
    """Return the prompt from wherever it was given.

    Raises:
        typer.BadParameter: It was given twice or not at all.
        InvalidRequestError: It is not UTF-8 text.
    """
    if (prompt is None) == (file is None):
        message = "give either a PROMPT ('-' reads standard input) or '--file'."
        raise typer.BadParameter(message)
    if file is not None:
        return _decoded(file.read_bytes(), f"the file {file}")
    if prompt != "-":
        return prompt or ""
    if sys.stdin.isatty():
        note("reading the prompt from the terminal; an end of file ends it")
    # Bytes, because Windows would decode them by the code page of the console.
    return _decoded(sys.stdin.buffer.read(), "standard input")


def _decoded(content: bytes, origin: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    message = f"the prompt from {origin} is not UTF-8 text."
    raise InvalidRequestError(message, remedy="Save or send it as UTF-8.")


async def _whole(config: Config, question: Question, *, as_json: bool) -> None:
    async with ModelManager(config) as manager:
        response = await manager.generate(
            question.agent,
            question.prompt,
            task=question.task,
            system=question.system,
            timeout=question.timeout,
            privacy=question.privacy,
            model=question.model,
        )
    if as_json:
        write_json(response.to_dict())
    else:
        write(response.text + _line_end(response.text))
        _tell_provenance(response, verbose=question.verbose)


async def _streamed(config: Config, question: Question) -> None:
    async with (
        ModelManager(config) as manager,
        manager.stream(
            question.agent,
            question.prompt,
            task=question.task,
            system=question.system,
            timeout=question.timeout,
            privacy=question.privacy,
            model=question.model,
        ) as stream,
    ):
        await _print_events(stream)
        _tell_provenance(stream.response, verbose=question.verbose)


async def _print_events(stream: Stream) -> None:
    last = ""
    try:
        async for event in stream:
            if isinstance(event, TextDelta):
                last = event.text or last
                write(event.text)
            elif isinstance(event, StreamReset):
                write(_line_end(last))
                last = ""
                _tell_reset(event)
    finally:
        # Also before an error, which would else stand behind half an answer.
        write(_line_end(last))


def _line_end(last: str) -> str:
    return "" if not last or last.endswith("\n") else "\n"


def _tell_reset(event: StreamReset) -> None:
    note(
        f"{event.from_model} broke off; forget the {event.discarded_characters}"
        f" characters above, {event.to_model} begins again",
        label="restart",
        style="yellow",
    )


def _tell_provenance(response: Response[Any], *, verbose: bool) -> None:
    for line in story_of(response.attempts) if verbose else ():
        note(line, label="attempt")
    where = "local" if response.is_local else "cloud"
    facts = [
        f"{response.provider}/{response.model} ({where})",
        tokens_of(response) + " tokens",
        cost_of(response.cost),
        f"{response.timings.total:.2f} s",
    ]
    failed = failed_before(response)
    if failed:
        facts.append(f"after {', '.join(failed)} failed")
    if response.finish_reason == "length":
        facts.append("cut at its longest length")
    note(", ".join(facts), label="answered by")


def tokens_of(response: Response[Any]) -> str:
    """Return tokens in and out; a count that nobody told is a question mark."""
    usage = response.usage
    counts = (usage.total_input_tokens, usage.output_tokens)
    return " + ".join("?" if count is None else str(count) for count in counts)


def cost_of(cost: Decimal | None) -> str:
    """Return a cost in USD for people; unknown is not free."""
    if cost is None:
        return "cost unknown"
    return "$0" if cost == 0 else f"${cost:.6f}"


def failed_before(response: Response[Any]) -> list[str]:
    """Return who was asked and failed before the answer came, in order."""
    failed = [a.candidate.label for a in response.attempts if a.outcome != "answered"]
    return list(dict.fromkeys(failed))
