"""`prices`: what every model costs, and which prices are missing or doubtful."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from model_manager.cli import _prices
from model_manager.cli._app import CommandLine
from model_manager.cli._options import ConfigPath
from model_manager.cli._session import Notes, Session

EXAMPLE = str(Path(__file__).parents[2] / "examples" / "models_config.json")
FULL = {
    "input": "2",
    "output": "10.50",
    "cache_read": "0.2",
    "cache_write_5m": "2.5",
    "cache_write_1h": "4",
}
app = typer.Typer(cls=CommandLine, rich_markup_mode="rich")
group = typer.Typer()


@app.callback()
def _begin(context: typer.Context, *, config: ConfigPath = None) -> None:
    notes = Notes(verbose=False)
    context.call_on_close(notes.close)
    context.obj = Session(config=config, verbose=False, notes=notes)


group.command("show", epilog=_prices.SHOW_EXAMPLES)(_prices.show)
group.command("check", epilog=_prices.CHECK_EXAMPLES)(_prices.check)
app.add_typer(group, name="prices")


def run(*arguments: str, columns: int = 80) -> Any:
    environ = {"COLUMNS": str(columns), "NO_COLOR": "1"}
    return CliRunner().invoke(app, list(arguments), env=environ)


def written(folder: Path, models: dict[str, Any], **more: Any) -> str:
    """Write a configuration of one server with these models and return its path."""
    server = {"base_url": "https://models.example/v1", "models": models}
    settings = {
        "version": "1.1.0",
        "agent_models": {"a": {"primary": f"house/{next(iter(models))}"}},
        "model_providers": {"house": server, **more},
    }
    path = folder / "prices.json"
    path.write_text(json.dumps(settings), encoding="utf-8")
    return str(path)


def unwrapped(text: str) -> str:
    return " ".join(text.split())


def later() -> str:
    return str(datetime.now(UTC).date() + timedelta(days=40))


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
def test_every_model_is_shown_with_its_rates_at_any_width(columns: int) -> None:
    done = run("prices", "show", "-c", EXAMPLE, columns=columns)

    assert done.exit_code == 0
    assert max(map(len, done.stdout.splitlines())) <= columns
    text = unwrapped(done.stdout)
    assert "USD per million tokens" in text
    assert "genai-prices" in text
    assert "anthropic/claude-sonnet-5-5" in text
    assert "table: claude-sonnet-5-5" in text
    assert "ollama/mixtral:8x7b-instruct-v0.1-q3_k_m" in text
    assert "openai/gpt-6.1-sol above 272,000 tokens: input 4, output 15" in text


def test_a_model_alone_is_found_by_any_of_its_names() -> None:
    for name in ("claude-3-opus-20240229", "anthropic/claude-opus-5-5"):
        done = run("prices", "show", name, "-c", EXAMPLE, "--json")

        (found,) = json.loads(done.stdout)
        assert found["model"] == "claude-opus-5-5"


def test_as_json_amounts_are_text_and_long_prompts_listed(tmp_path: Path) -> None:
    path = written(tmp_path, {"own": {"price": FULL}, "none": {}}, openai={})

    found = {
        one["model"]: one
        for one in json.loads(run("prices", "show", "-c", path, "--json").stdout)
    }

    rates = found["own"]["usd_per_million_tokens"]
    assert found["own"]["source"] == "config"
    assert rates["output"] == {"usd": "10.5", "long_prompts": []}
    assert found["none"]["usd_per_million_tokens"] is None
    assert found["none"]["source"] is None


def test_long_prompts_as_json(tmp_path: Path) -> None:
    path = written(tmp_path, {"x": {}}, openai={"models": {"gpt-5.4": {}}})

    (found,) = json.loads(run("prices", "show", "gpt-5.4", "-c", path, "--json").stdout)

    assert found["matched"] == "gpt-5.4"
    assert found["usd_per_million_tokens"]["input"] == {
        "usd": "2.5",
        "long_prompts": [{"more_than": 272_000, "usd": "5"}],
    }


@pytest.mark.parametrize("columns", [60, 160])
def test_what_is_not_known_is_said_to_be_unknown(tmp_path: Path, columns: int) -> None:
    half = {"price": {"input": "2", "output": "10"}}
    path = written(tmp_path, {"half": half, "none": {}})

    text = run("prices", "show", "-c", path, columns=columns).stdout

    assert "unknown" in text.split("house/half")[1].split("house/none")[0]
    assert "unknown" in text.split("house/none")[1]
    assert "0.00" not in text


def test_a_model_that_is_not_configured_is_an_error_with_a_hint() -> None:
    done = run("prices", "show", "claude-sonnet-5", "-c", EXAMPLE)

    assert done.exit_code == 6
    assert "no model 'claude-sonnet-5' in the configuration" in done.stderr
    assert "claude-sonnet-5-5" in done.stderr


def test_prices_that_are_all_known_are_ok(tmp_path: Path) -> None:
    path = written(tmp_path, {"own": {"price": FULL}}, anthropic={}, ollama={})

    done = run("prices", "check", "-c", path)

    assert done.exit_code == 0
    assert done.stdout == "ok: 1 model, every price is known\n"


@pytest.mark.parametrize(
    ("models", "kind", "words"),
    [
        ({"none": {}}, "unknown", "no price is known"),
        (
            {"half": {"price": {"input": "2", "output": "10"}}},
            "incomplete",
            "says nothing of cache_read, cache_write_5m, cache_write_1h",
        ),
    ],
)
def test_a_price_to_mend_has_an_exit_code_and_a_remedy(
    tmp_path: Path, models: dict[str, Any], kind: str, words: str
) -> None:
    path = written(tmp_path, models)

    done = run("prices", "check", "-c", path)
    text = unwrapped(done.stdout)

    assert done.exit_code == 3
    assert text.startswith("1 model, 1 price to mend")
    (name,) = models
    assert f"{kind}: house/{name}: " in text
    assert words in text
    assert f"'model_providers.house.models.{name}.price'" in text


def test_a_loose_match_is_told_with_both_names(tmp_path: Path) -> None:
    models: dict[str, Any] = {"claude-sonnet-4-5-eu": {}}
    path = written(tmp_path, {"own": {"price": FULL}}, anthropic={"models": models})

    done = run("prices", "check", "-c", path)

    assert done.exit_code == 3
    assert (
        "loose: anthropic/claude-sonnet-4-5-eu: it is priced as claude-sonnet-4-5,"
        in unwrapped(done.stdout)
    )
    shown = run("prices", "show", "-c", path, columns=200).stdout
    assert "table: claude-sonnet-4-5, a loose match" in shown


def test_a_price_that_is_to_come_is_told_and_changes_nothing(tmp_path: Path) -> None:
    own = {"price": {**FULL, "valid_from": later()}}
    path = written(
        tmp_path, {"x": {"price": FULL}}, openai={"models": {"gpt-5.4": own}}
    )

    checked = run("prices", "check", "-c", path)
    shown = run("prices", "show", "gpt-5.4", "-c", path, columns=200)

    assert checked.exit_code == 0
    assert f"the price in the configuration counts from {later()} on" in unwrapped(
        checked.stdout
    )
    assert f"table: gpt-5.4, config from {later()}" in shown.stdout
    assert "input 5, output 22.5" in shown.stdout


def test_until_it_comes_a_price_that_no_table_has_is_unknown(tmp_path: Path) -> None:
    path = written(tmp_path, {"own": {"price": {**FULL, "valid_from": later()}}})

    done = run("prices", "check", "-c", path, "--json")

    found = json.loads(done.stdout)
    assert done.exit_code == 3
    assert not found["ok"]
    assert [one["kind"] for one in found["findings"]] == ["unknown", "later"]


@pytest.mark.parametrize("command", ["show", "check"])
def test_help_has_examples_and_says_what_the_codes_mean(command: str) -> None:
    done = run("prices", command, "--help")

    assert done.exit_code == 0
    assert f"model-manager prices {command}" in done.stdout
    assert command == "show" or "Exit code 3" in done.stdout
