"""Who may answer, in which order: the rules of the plan, on data alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import override

from model_manager._request import chat_request, embed_request
from model_manager.config import Config, load_config
from model_manager.errors import InvalidRequestError, UnknownAgentError
from model_manager.routing import anybody, plan
from model_manager.types import (
    Facts,
    Image,
    InstalledModel,
    Message,
    Rest,
    Route,
    Tool,
    ToolCall,
    ToolResult,
)

AGENT = {"primary": "claude-opus-5-5", "fallback": "gpt-6-luna", "local": "coder"}
PROVIDERS: dict[str, Any] = {
    "ollama": {
        "base_url": "http://127.0.0.1:11434",
        "models": {"coder": {}, "general": {}, "nomic": {}},
    }
}


def config(agent: dict[str, Any] | None = None, **sections: Any) -> Config:
    """Build a configuration around one agent, `a`."""
    return load_config(
        {
            "version": "1.1.0",
            "agent_models": {"a": agent or AGENT},
            "model_providers": PROVIDERS,
            **sections,
        }
    )


def route(loaded: Config, facts: Facts | None = None, **options: Any) -> Route:
    """Plan one chat call of agent `a`."""
    prompt = options.pop("prompt", "hello")
    return plan(loaded, chat_request("a", prompt, **options), facts or Facts())


def order(planned: Route) -> list[str]:
    """Return the models in the order in which they are asked."""
    return [candidate.model for candidate in planned.candidates]


def test_an_agent_that_prefers_local_asks_local_then_primary_then_fallback() -> None:
    planned = route(config({**AGENT, "prefer_local": True}))

    assert order(planned) == ["coder", "claude-opus-5-5", "gpt-6-luna"]


def test_other_agents_ask_primary_then_fallback_then_local() -> None:
    assert order(route(config())) == ["claude-opus-5-5", "gpt-6-luna", "coder"]


def test_everybody_who_may_answer_an_agent_is_named_once() -> None:
    agents = {f"agent {number}": AGENT for number in range(1000)}
    other = {"primary": "gpt-6-luna", "local": "general", "privacy": "local_only"}
    loaded = config(agent_models=agents | {"b": other}, defaults={"primary": "nomic"})

    found = [one.label for one in anybody(loaded, Facts())]

    assert sorted(found) == [
        "anthropic/claude-opus-5-5",
        "ollama/coder",
        "ollama/general",
        "ollama/nomic",
        "openai/gpt-6-luna",
    ]


def test_a_model_named_by_the_call_is_asked_first_and_only_once() -> None:
    assert order(route(config(), model="coder")) == [
        "coder",
        "claude-opus-5-5",
        "gpt-6-luna",
    ]


def test_a_model_that_nothing_knows_is_an_error_that_says_where_to_list_it() -> None:
    with pytest.raises(InvalidRequestError, match="model_providers"):
        route(config(), model="nobody-knows-me")


def test_the_tasks_strategy_stands_behind_the_agents_own_models() -> None:
    loaded = config(fallback_strategies={"code": ["general", "gpt-6.1-sol"]})

    assert order(route(loaded, task="code"))[3:] == ["general", "gpt-6.1-sol"]
    assert order(route(loaded, task="other"))[3:] == []


@pytest.mark.parametrize(
    ("words", "task"),
    [
        ("Debug this parser", "code"),
        ("une réponse RAPIDE svp", "quick"),
        ("Fais une analyse complexe", "analysis"),
        ("une analyse\n  complexe", "analysis"),
        ("Déboguer le module", "code"),
        ("a codex of laws", None),
    ],
)
def test_keywords_in_french_and_english_tell_the_task(
    words: str, task: str | None
) -> None:
    loaded = config(
        task_routing={
            "code": {"keywords": ["code", "debug", "deboguer"], "model": "coder"},
            "quick": {"keywords": ["quick", "rapide"], "model": "general"},
            "analysis": {"keywords": ["analyse complexe"], "model": "general"},
        }
    )

    assert route(loaded, prompt=words).task == task


def test_without_a_keyword_the_default_rules_model_is_the_strategy() -> None:
    loaded = config(task_routing={"default": {"keywords": [], "model": "general"}})

    assert order(route(loaded))[-1] == "general"


@pytest.mark.parametrize(
    "where",
    [
        {"agent": {**AGENT, "privacy": "local_only"}},
        {"privacy": {"tasks": {"secret": "local_only"}}, "call": {"task": "secret"}},
        {"privacy": {"default": "local_only"}},
        {"call": {"privacy": "local_only"}},
    ],
)
def test_local_only_from_anywhere_leaves_local_candidates_only(
    where: dict[str, Any],
) -> None:
    sections = {k: v for k, v in where.items() if k in {"agent", "privacy"}}
    planned = route(config(**sections), **where.get("call", {}))

    assert order(planned) == ["coder"]
    assert {r.code for r in planned.refused} == {"privacy"}


@pytest.mark.parametrize("said", ["Secret", " secret", "SECRET ", "sécret"])
def test_a_tasks_name_keeps_work_at_home_however_it_is_spelt(said: str) -> None:
    loaded = config(
        fallback_strategies={"Secret": ["general"]},
        privacy={"tasks": {"secret": "local_only"}},
    )

    assert route(loaded, task=said).privacy == "local_only"
    assert (
        route(
            config(
                {**AGENT, "task": said.strip()},
                privacy={"tasks": {"secret": "local_only"}},
            )
        ).task
        == "secret"
    )
    assert order(route(loaded, task=said))[1:] == ["general"]


def test_a_call_cannot_lift_what_its_agent_demands() -> None:
    loaded = config({**AGENT, "privacy": "local_only"})

    planned = route(loaded, privacy="any", model="claude-opus-5-5")

    assert order(planned) == ["coder"]


def test_a_missing_key_refuses_that_providers_candidates_alone() -> None:
    facts = Facts(missing_keys={"anthropic": "ANTHROPIC_API_KEY"})

    planned = route(config(), facts)

    assert order(planned) == ["gpt-6-luna", "coder"]
    assert "ANTHROPIC_API_KEY" in planned.refused[0].reason


def test_a_model_that_is_not_installed_is_refused_and_never_pulled() -> None:
    facts = Facts(installed={"ollama": {"general": InstalledModel(name="general")}})

    planned = route(config(), facts)

    assert [r.code for r in planned.refused] == ["not_installed"]
    assert "nothing is downloaded" in planned.refused[0].remedy


def test_the_best_installed_model_stands_last_when_nothing_configured_is_there() -> (
    None
):
    installed = {
        "small": InstalledModel(name="small", size=2 * 10**9),
        "large": InstalledModel(name="large", size=9 * 10**9),
        "too-large": InstalledModel(name="too-large", size=60 * 10**9),
        "vectors": InstalledModel(
            name="vectors", size=10**10, capabilities=frozenset({"embeddings"})
        ),
    }

    planned = route(config(), Facts(installed={"ollama": installed}))

    assert order(planned)[-1] == "large"
    assert planned.candidates[-1].role == "installed"


def test_the_installed_model_that_stands_in_can_do_what_the_call_needs() -> None:
    chat = frozenset({"completion"})
    installed = {
        "large": InstalledModel(name="large", size=9 * 10**9, capabilities=chat),
        "small": InstalledModel(
            name="small", size=2 * 10**9, capabilities=chat | {"tools"}
        ),
    }
    facts = Facts(installed={"ollama": installed})

    assert order(route(config(), facts))[-1] == "large"
    assert order(route(config(), facts, tools=[Tool("look")]))[-1] == "small"


def test_a_local_model_that_is_forwarded_elsewhere_is_refused() -> None:
    remote = InstalledModel(name="coder", remote_host="https://elsewhere.example")

    planned = route(config(), Facts(installed={"ollama": {"coder": remote}}))

    assert "remote_model" in {r.code for r in planned.refused}


@pytest.mark.parametrize(
    ("capability", "options"),
    [
        ("tools", {"tools": [Tool("look")]}),
        ("json_schema", {"output_type": {"type": "object", "properties": {}}}),
        (
            "vision",
            {"prompt": [Message.user("what is it?", images=(Image(data=b"png"),))]},
        ),
    ],
)
def test_a_model_that_cannot_do_what_is_asked_is_refused(
    capability: str, options: dict[str, Any]
) -> None:
    providers = {
        "ollama": {
            "base_url": "http://127.0.0.1:11434",
            "models": {"coder": {"capabilities": {capability: False}}},
        }
    }
    loaded = config(model_providers=providers)

    planned = route(loaded, **options)

    assert [r.code for r in planned.refused] == ["capability"]
    assert any(capability in note for note in planned.notes), "unknown is said"


def test_a_prompt_too_long_for_a_window_is_refused_before_it_is_sent() -> None:
    providers = {
        "ollama": {
            "base_url": "http://127.0.0.1:11434",
            "models": {"coder": {"context_window": 1000}},
        }
    }
    loaded = config(model_providers=providers)

    assert "coder" in order(route(loaded, prompt="x" * 3000))
    assert "coder" not in order(route(loaded, prompt="x" * 5000))
    assert "coder" not in order(route(loaded, max_output_tokens=2000))


def test_results_of_tools_count_in_a_prompts_length() -> None:
    small = {"ollama": {"models": {"coder": {"context_window": 1000}}}}
    call = ToolCall("1", "read", {})
    turns = [
        Message.user("read it"),
        Message.assistant(tool_calls=(call,)),
        Message.tool(ToolResult("1", "x" * 5000)),
    ]

    assert "coder" not in order(route(config(model_providers=small), prompt=turns))


def test_the_window_that_a_server_tells_counts_where_none_is_configured() -> None:
    small = InstalledModel(name="coder", context_window=1000)
    facts = Facts(installed={"ollama": {"coder": small}})

    assert "coder" in order(route(config(), facts))
    assert "coder" not in order(route(config(), facts, prompt="x" * 5000))


def test_embedding_asks_one_model_because_vectors_do_not_compare() -> None:
    loaded = config({**AGENT, "embedding": "nomic"})

    planned = plan(loaded, embed_request("a", ["x"]), Facts())

    assert order(planned) == ["nomic"]


def test_an_alias_is_followed_and_noted() -> None:
    loaded = config({"primary": "old"}, aliases={"old": "general"})

    planned = route(loaded)

    assert order(planned) == ["general"]
    assert planned.notes[0] == "old is now general"


def test_an_alias_is_noted_where_its_model_may_not_answer_too() -> None:
    loaded = config({"primary": "claude-3-sonnet-20240229", "local": "coder"})

    planned = route(loaded, Facts(missing_keys={"anthropic": "ANTHROPIC_API_KEY"}))

    assert planned.notes[0].startswith("claude-3-sonnet-20240229 is now claude-")


def test_an_unknown_agent_is_told_the_closest_ids() -> None:
    loaded = config(agent_models={"agent_02_architecte": AGENT})

    with pytest.raises(UnknownAgentError, match="agent_02_architecte"):
        plan(loaded, chat_request("agent_2_architecte", "x"), Facts())


def test_defaults_serve_agents_that_are_not_listed() -> None:
    loaded = config(defaults={"primary": "general"})

    planned = plan(loaded, chat_request("somebody", "x"), Facts())

    assert order(planned) == ["general"]


def test_the_route_reads_as_text_as_data_and_as_escaped_html() -> None:
    loaded = config({"primary": "gpt-6-luna", "local": "coder"})
    facts = Facts(missing_keys={"openai": "OPENAI_API_KEY"})

    planned = route(loaded, facts, task="<b>")

    assert "1. ollama/coder (local)" in str(planned)
    assert planned.to_dict()["candidates"][0]["model"] == "coder"  # type: ignore[index]  # plain data
    assert "<b><b>" not in planned._repr_html_()
    assert "&lt;b&gt;" in planned._repr_html_()


def test_a_terminal_does_not_obey_a_task_of_the_caller() -> None:
    planned = route(config(), task="a\x1b[31m\nforged")

    assert "\x1b" not in str(planned)
    assert len(str(planned).splitlines()) == len(str(route(config())).splitlines())


models = st.sampled_from(["claude-opus-5-5", "gpt-6-luna", "coder", "general"])
agents = st.fixed_dictionaries(
    {},
    optional={
        "primary": models,
        "fallback": models,
        "local": st.sampled_from(["coder", "general"]),
        "prefer_local": st.booleans(),
        "privacy": st.sampled_from(["any", "local_only"]),
    },
).filter(lambda agent: "primary" in agent or "local" in agent)


@settings(deadline=None)
@given(
    agent=agents,
    strategy=st.lists(models, min_size=1, max_size=4),
    call_privacy=st.sampled_from([None, "any", "local_only"]),
    explicit=st.none() | models,
    missing=st.sets(st.sampled_from(["anthropic", "openai"])),
    installed=st.none() | st.sets(st.sampled_from(["coder", "general", "other"])),
)
def test_every_plan_keeps_its_promises(  # noqa: PLR0917 - one argument a dimension
    agent: dict[str, Any],
    strategy: list[str],
    call_privacy: Any,
    explicit: str | None,
    missing: set[str],
    installed: set[str] | None,
) -> None:
    """No duplicates, every refusal has a reason, nothing widens local-only."""
    # Naming both vendors in the file makes them known to a call's `model=`.
    both = {"primary": "claude-opus-5-5", "fallback": "gpt-6-luna"}
    loaded = config(agent, fallback_strategies={"t": strategy}, defaults=both)
    models_there = {n: InstalledModel(name=n) for n in installed or ()}
    facts = Facts(
        missing_keys=dict.fromkeys(missing, "A_KEY"),
        installed={} if installed is None else {"ollama": models_there},
    )

    planned = route(loaded, facts, task="t", privacy=call_privacy, model=explicit)

    judged = [*planned.candidates, *(r.candidate for r in planned.refused)]
    places = [(c.endpoint, c.model) for c in judged]
    assert len(places) == len(set(places))
    assert all(r.reason and r.remedy for r in planned.refused)
    assert not {c.endpoint for c in planned.candidates} & missing
    if "local_only" in (agent.get("privacy"), call_privacy):
        assert all(c.is_local for c in planned.candidates)
        assert planned.privacy == "local_only"
    if explicit and planned.candidates and explicit in order(planned):
        assert planned.candidates[0].model == explicit


PRIVATE: dict[str, Any] = {
    "task_routing": {
        "code": {"keywords": ["code"], "model": "coder"},
        "secret": {"keywords": ["confidentiel"], "model": "coder"},
    },
    "privacy": {"tasks": {"secret": "local_only"}},
}


@pytest.mark.parametrize(
    "options",
    [
        {"prompt": "code CONFIDENTIEL"},
        {"prompt": "x" * 5000 + " confidentiel"},
        {"system": "Tout ceci est confidentiel."},
        {"task": "code", "prompt": "un document confidentiel"},
        {"task": "a Secret review"},
        {"prompt": [Message.user("confidentiel"), Message.user("and now code")]},
    ],
)
def test_a_private_tasks_keyword_keeps_the_work_at_home_wherever_it_stands(
    options: dict[str, Any],
) -> None:
    planned = route(config(**PRIVATE), **options)

    assert planned.privacy == "local_only"
    assert order(planned) == ["coder"]


def test_a_private_keyword_in_a_text_to_embed_counts_too() -> None:
    loaded = config({"primary": "gpt-6-luna", "embedding": "nomic"}, **PRIVATE)

    planned = plan(loaded, embed_request("a", ["x", "confidentiel"]), Facts())

    assert planned.privacy == "local_only"


@pytest.mark.parametrize("name", ["gpt-oss:120b-cloud", "kimi:CLOUD", "glm-cloud"])
def test_a_model_of_ollamas_cloud_is_refused_before_anybody_is_asked(name: str) -> None:
    providers: dict[str, Any] = {"ollama": {"models": {name: {}, "coder": {}}}}
    loaded = config({"local": name, "fallback": "coder"}, model_providers=providers)

    planned = route(loaded)

    assert order(planned) == ["coder"]
    assert planned.refused[0].code == "remote_model"
    assert "pull" not in planned.refused[0].remedy


class OnlyLookedUp(Mapping[tuple[str, str], Rest]):
    """What rests, of which nobody may ask for all of it."""

    def __init__(self, rests: dict[tuple[str, str], Rest]) -> None:
        self._rests = rests

    @override
    def __getitem__(self, place: tuple[str, str], /) -> Rest:
        return self._rests[place]

    @override
    def __iter__(self) -> Iterator[tuple[str, str]]:
        message = "all that rests was gone through"
        raise AssertionError(message)

    @override
    def __len__(self) -> int:
        message = "all that rests was counted"
        raise AssertionError(message)


@pytest.mark.parametrize(("own", "of_all"), [(5.0, 9.0), (9.0, 5.0)])
def test_the_longer_rest_counts_of_a_model_and_of_its_endpoint(
    own: float, of_all: float
) -> None:
    rests = {
        ("anthropic", "claude-opus-5-5"): Rest(kind="breaker", reason="x", seconds=own),
        ("anthropic", ""): Rest(kind="suspended", reason="y", seconds=of_all),
    }

    planned = route(config(), Facts(resting=OnlyLookedUp(rests)))

    assert order(planned) == ["gpt-6-luna", "coder"]
    assert [(r.code, r.retry_in) for r in planned.refused] == [("resting", 9.0)]
