"""Which task a request is: said, configured, or told by its words."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from model_manager.config import AgentModels, Config
from model_manager.types import Request

DEFAULT_RULE = "default"
"""The `task_routing` rule whose model serves when no keyword matches."""
_LOOKED_AT = 2_000
"""Characters of a prompt in which keywords are looked for; a task shows early, and
routing must not cost more for a long document."""


def task_of(config: Config, agent: AgentModels, request: Request) -> str | None:
    """Return the task's name: the caller's, the agent's, or the one its words show.

    A caller may write free words (`task="debug the parser"`): they are matched with
    the keywords too. `None` when nothing tells.
    """
    said = request.task or agent.task
    if said is not None:
        return _known(config, said) or _matching(config, said) or said
    return _matching(config, _last_words(request))


def has_private_words(config: Config, request: Request) -> bool:
    """Return whether any text of a call has a keyword of a `local_only` task.

    All texts are read to their end, whatever the task is called: a word that marks
    private work counts wherever it stands. In the caller's `task=` the private task's
    own name is such a word too.
    """
    for name, privacy in config.privacy.tasks.items():
        if privacy != "local_only":
            continue
        rule = config.task_routing.get(name)
        keywords = tuple(rule.keywords) if rule is not None else ()
        if request.task and _has_word(fold(request.task), (name, *keywords)):
            return True
        if keywords and any(_has_word(fold(t), keywords) for t in request.texts()):
            return True
    return False


def _known(config: Config, said: str) -> str | None:
    """Return a task as the configuration spells it; `None` for one it does not know."""
    sections = (config.task_routing, config.fallback_strategies, config.privacy.tasks)
    if any(said in section for section in sections):
        return said
    folded = fold(said.strip())
    names = (name for section in sections for name in section)
    return next((name for name in names if fold(name) == folded), None)


def _matching(config: Config, text: str) -> str | None:
    if not text or not config.task_routing:
        return None
    folded = fold(text)
    for name, rule in config.task_routing.items():
        if _has_word(folded, tuple(rule.keywords)):
            return name
    return None


def _last_words(request: Request) -> str:
    for message in reversed(request.messages):
        if message.role == "user":
            return message.text[:_LOOKED_AT]
    return ""


def fold(text: str) -> str:
    """Drop case and accents, so that `Déboguer` is found by `deboguer`."""
    if text.isascii():
        return text.lower()
    split = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in split if not unicodedata.combining(c))


def _has_word(folded: str, keywords: tuple[str, ...]) -> bool:
    words, pattern = _compiled(keywords)
    # Looking for each word anywhere costs a tenth of the pattern, and mostly ends it.
    return any(word in folded for word in words) and bool(pattern.search(folded))


@lru_cache(maxsize=256)
def _compiled(keywords: tuple[str, ...]) -> tuple[tuple[str, ...], re.Pattern[str]]:
    # A keyword of several words is found over a line's end and wider spaces too.
    folded = [fold(keyword).split() for keyword in keywords]
    words = tuple(parts[0] for parts in folded if parts)
    choice = "|".join(r"\s+".join(map(re.escape, parts)) for parts in folded if parts)
    return words, re.compile(rf"(?<!\w)(?:{choice})(?!\w)")
