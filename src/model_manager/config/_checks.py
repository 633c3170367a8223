"""What a schema cannot say: names that lead nowhere, keys sent in clear, cycles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from model_manager.config._account_checks import account_problems
from model_manager.config._closest import closest
from model_manager.config._lifecycle import RETIREMENTS
from model_manager.config._listing import (
    KNOWN,
    Listing,
    canonical,
    is_at_vendor,
    is_in_a_cloud,
    is_loopback,
    kind_of,
    vendor_shown,
)
from model_manager.config._mentions import (
    ROLES,
    Mention,
    listing_of,
    mentions,
    objects,
    texts,
)
from model_manager.config._problems import Problem, path_text
from model_manager.config._secrets import is_disguised_key, shown

_SUGGESTIONS = 50
_DEFAULT_RULE = "default"


def semantic_problems(data: Mapping[str, object]) -> list[Problem]:
    """Return what is wrong with the meaning of plain data, valid or not."""
    listing = listing_of(data)
    return [
        *_providers(data),
        *_cycles(listing),
        *_unknown_models(data, listing),
        *_agents(data),
        *_rules(data),
        *account_problems(data),
    ]


def _unknown_models(data: Mapping[str, object], listing: Listing) -> Iterator[Problem]:
    names: list[str] | None = None
    suggested = 0
    for mention in mentions(data):
        target = listing.follow(mention.model)
        if listing.places(target):
            yield from _cloud_as_local(mention, target, listing)
            continue
        if target in listing.aliases:
            continue  # part of a cycle, which is told once
        suggestion = ""
        if suggested < _SUGGESTIONS:
            # Suggestions cost time; a file with hundreds of errors needs only some.
            suggested += 1
            names = _known_names(listing) if names is None else names
            others = [name for name in names if name != mention.model]
            suggestion = next(iter(closest(target, others, limit=1)), "")
        yield Problem(
            path=path_text(mention.path),
            message=f"model {shown(mention.model)} belongs to no provider",
            expected=(
                "a name listed under a provider's 'models' (for a local model:"
                " model_providers.ollama.models), an alias, or a name beginning with"
                " 'claude-', 'gpt-', or 'o' and a digit"
            ),
            suggestion=suggestion,
        )


def _known_names(listing: Listing) -> list[str]:
    current = dict.fromkeys(row.successor for row in RETIREMENTS.values())
    return [*listing.names(), *current]


def _cloud_as_local(
    mention: Mention, target: str, listing: Listing
) -> Iterator[Problem]:
    vendor = vendor_shown(target)
    unlisted = not any(place.is_listed for place in listing.places(target))
    if mention.role == "local" and unlisted and vendor is not None:
        yield Problem(
            path=path_text(mention.path),
            message=f"model {shown(mention.model)} is not local: it runs at {vendor}",
            expected="a model that a provider on this machine lists",
        )


def _cycles(listing: Listing) -> Iterator[Problem]:
    done: set[str] = set()
    for alias in listing.aliases:
        chain: list[str] = []
        name = alias
        while name in listing.aliases and name not in done and name not in chain:
            chain.append(name)
            name = listing.aliases[name]
        if name in chain:
            cycle = [*chain[chain.index(name) :], name]
            yield Problem(
                path=path_text(("aliases", name)),
                message=f"the aliases form a cycle: {' -> '.join(map(shown, cycle))}",
                expected="aliases that end at a model",
            )
        done.update(chain)


def _providers(data: Mapping[str, object]) -> Iterator[Problem]:
    for name, content in objects(data.get("model_providers")).items():
        fields = objects(content)
        known = texts(fields)
        url = known.get("base_url")
        kind = kind_of(name, kind=known.get("kind"), base_url=url)
        at = path_text(("model_providers", name))
        if kind is None and isinstance(content, dict):
            yield Problem(
                path=at,
                message="nothing tells how this provider is spoken to",
                expected=f"a 'base_url' (OpenAI-compatible), or 'kind': {_kinds()}",
                suggestion=next(iter(closest(name, KNOWN, limit=1)), ""),
            )
        own = KNOWN.get(name)
        if own is not None and own.shows is not None and kind != name:
            yield Problem(
                path=f"{at}.kind",
                message=f"the provider {name!r} answers for the vendor's model names",
                expected=f"'kind': {name!r}, or another name for this provider",
            )
        yield from _key_safety(at, kind=kind or "", fields=known)
        yield from _listed_twice(name, kind=kind or "", fields=fields)


def _kinds() -> str:
    return ", ".join(map(repr, KNOWN))


def _key_safety(at: str, *, kind: str, fields: Mapping[str, str]) -> Iterator[Problem]:
    url = fields.get("base_url", "")
    zone = fields.get("data_zone")
    variable = fields.get("api_key_env")
    if variable is not None and is_disguised_key(variable):
        yield Problem(
            path=f"{at}.api_key_env",
            message=f"a text of {len(variable)} characters that looks like a key",
            expected="the name of the environment variable that holds the key",
        )
    if zone == "local" and is_in_a_cloud(url or _default_url(kind)):
        yield Problem(
            path=f"{at}.data_zone",
            message="'local' is not true: this address is the vendor's",
            expected="'cloud', or no data_zone",
        )
    open_to_all = url.lower().startswith("http://") and not is_loopback(url)
    has_key = variable is not None or is_at_vendor(kind, url)
    if open_to_all and has_key and zone != "local":
        yield Problem(
            path=f"{at}.base_url",
            message="the key would be sent unencrypted to another machine",
            expected="an https address, or 'data_zone': 'local' for a network of yours",
        )


def _default_url(kind: str) -> str:
    known = KNOWN.get(kind)
    return known.base_url if known is not None else ""


def _listed_twice(
    provider: str, *, kind: str, fields: Mapping[str, object]
) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for model in objects(fields.get("models")):
        first = seen.setdefault(canonical(kind, model), model)
        if first != model:
            yield Problem(
                path=path_text(("model_providers", provider, "models", model)),
                message=f"the same model as {shown(first)}: ollama reads both alike",
                expected="one of the two names",
            )


def _agents(data: Mapping[str, object]) -> Iterator[Problem]:
    agents = data.get("agent_models")
    if agents == {} and not objects(data.get("defaults")):
        yield Problem(
            path="agent_models",
            message="no agent is listed, and there are no 'defaults'",
            expected="at least one agent, or 'defaults' for all",
        )
    strategies = objects(data.get("fallback_strategies"))
    listed = [(("agent_models", name), one) for name, one in objects(agents).items()]
    for path, content in (*listed, (("defaults",), data.get("defaults"))):
        if not isinstance(content, dict) or any(content.get(role) for role in ROLES):
            continue
        task = content.get("task")
        if not (isinstance(task, str) and strategies.get(task)):
            yield Problem(
                path=path_text(path),
                message="the agent has no model",
                expected=(
                    "'primary', 'fallback' or 'local', or a 'task' that"
                    " 'fallback_strategies' knows"
                ),
            )


def _rules(data: Mapping[str, object]) -> Iterator[Problem]:
    for rule, content in objects(data.get("task_routing")).items():
        if not isinstance(content, dict) or rule == _DEFAULT_RULE:
            continue
        if content.get("keywords", []) == []:
            yield Problem(
                path=path_text(("task_routing", rule, "keywords")),
                message="the rule has no keyword, so it would never apply",
                expected="at least one word, or the name 'default' for this rule",
            )
