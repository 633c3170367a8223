"""The format described: as a JSON Schema for editors, as a page for people."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from model_manager.config._config import Config
from model_manager.config._lifecycle import RETIREMENTS

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_PREFACE = """\
# Configuration

<!-- Generated from the schema by model_manager.config.render_reference(). -->

One JSON file holds everything. It is found at the path given to `ModelManager`, else
where `$MODEL_MANAGER_CONFIG` says, else at `./models_config.json`, else at
`./config/models_config.json`. Three fields are required; the rest has defaults:

```json
{
  "version": "1.1.0",
  "agent_models": {
    "agent_02_architecte_code_expert": {
      "primary": "claude-sonnet-5-5",
      "local": "qwen-coder-32b",
      "prefer_local": true
    }
  },
  "model_providers": {
    "ollama": {"base_url": "http://localhost:11434", "models": {"qwen-coder-32b": {}}}
  }
}
```

- **Check it** with `model-manager config check`. Every problem is told at once, with
  its JSON path, what is expected there, and the name that was probably meant.
- **Editor help:** save the output of `model-manager config schema` beside the file and
  name it in a first field, `"$schema": "./models_config.schema.json"`.
- **Keys never stand in the file.** `api_key_env` names an environment variable. What
  looks like a key is refused, wherever it stands, and is not shown.
- **A model belongs** to every provider that lists it, in the order of the file, else to
  the one its name shows: `claude-` to Anthropic, `gpt-` or `o` and a digit to OpenAI
  (not `gpt-oss`, whose weights are open). `provider/model` picks one provider. For
  Ollama, `x` and `x:latest` are the same model.
- **Local** is what runs on a loopback address, or on a provider whose `data_zone` is
  `local`. `local_only` work goes nowhere else, whatever fails.
- **The file is strict JSON**, UTF-8, at most 5 MB: no comments, no repeated fields, no
  NaN, no unknown fields.
"""
_RETIRED = """\
## Retired models

From the day named, a model's successor answers in its place; loading the file says so,
and names the day in advance. Write an alias to choose another. A server of your own
that lists a model by its old name goes on serving it.

| Models | Retired from | Successor |
| --- | --- | --- |
"""


def config_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the configuration file."""
    generated = Config.model_json_schema(by_alias=True, mode="validation")
    described: dict[str, Any] = {
        "$schema": _DIALECT,
        "title": "models_config.json",
        "description": "The agents, models and providers of model_manager.",
    }
    return described | {
        key: value for key, value in _tidy(generated).items() if key not in described
    }


def schema_text() -> str:
    """Return the JSON Schema as the text of the file that the package ships."""
    return json.dumps(config_schema(), indent=2, ensure_ascii=False) + "\n"


def render_reference() -> str:
    """Return the reference of the configuration as Markdown."""
    schema = config_schema()
    parts = [_PREFACE, "## The file\n\n" + _table(schema, schema)]
    parts += _sections(schema, schema, "")
    together: dict[tuple[object, str], list[str]] = {}
    for row in RETIREMENTS.values():
        together.setdefault((row.on, row.successor), []).append(f"`{row.model}`")
    rows = "".join(
        f"| {', '.join(models)} | {day} | `{successor}` |\n"
        for (day, successor), models in together.items()
    )
    sources = dict.fromkeys(row.source for row in RETIREMENTS.values())
    links = ", ".join(f"<{source}>" for source in sources)
    parts.append(f"{_RETIRED}{rows}\nSources: {links}.\n")
    return "\n".join(parts)


def _tidy(node: Any) -> Any:
    """Drop titles that only repeat a field's name; refuse names of another pattern."""
    if isinstance(node, list):
        return [_tidy(one) for one in node]
    if not isinstance(node, dict):
        return node
    kept = {
        key: _tidy(value)
        for key, value in node.items()
        if not (key == "title" and isinstance(value, str))
    }
    return kept | (
        {"additionalProperties": False} if "patternProperties" in kept else {}
    )


def _sections(
    schema: Mapping[str, Any], node: Mapping[str, Any], path: str
) -> Iterator[str]:
    for name, field in node.get("properties", {}).items():
        at, target = _inside(schema, field, f"{path}.{name}" if path else name)
        if target is not None and at == "defaults":
            yield "## `defaults`\n\nThe fields of `agent_models.<name>`.\n"
        elif target is not None:
            about = target.get("description", "")
            yield f"## `{at}`\n\n{about}\n\n{_table(schema, target)}"
            yield from _sections(schema, target, at)


def _inside(
    schema: Mapping[str, Any], field: Mapping[str, Any], path: str
) -> tuple[str, Mapping[str, Any] | None]:
    """Return the section that a field holds, and the path of it; else `None`."""
    for option in field.get("anyOf", [field]):
        values = _values(option)
        for at, held in ((f"{path}.<name>", values), (path, option)):
            target = _resolved(schema, held) if "$ref" in held else {}
            if "properties" in target:
                return at, target
    return path, None


def _values(field: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what an object with free names holds; empty for anything else."""
    values = field.get("additionalProperties")
    if isinstance(values, dict) and values:
        return values
    by_pattern = field.get("patternProperties", {}).values()
    return next(iter(by_pattern), {})


def _resolved(schema: Mapping[str, Any], field: Mapping[str, Any]) -> Mapping[str, Any]:
    definition: Mapping[str, Any] = schema["$defs"][field["$ref"].rpartition("/")[2]]
    return definition


def _table(schema: Mapping[str, Any], node: Mapping[str, Any]) -> str:
    required = node.get("required", [])
    lines = ["| Field | Type | Default | Meaning |", "| --- | --- | --- | --- |"]
    for name, field in node["properties"].items():
        default = "required" if name in required else _default(field)
        meaning = field.get("description", "").replace("|", "\\|")
        lines.append(f"| `{name}` | {_type(schema, field)} | {default} | {meaning} |")
    return "\n".join(lines) + "\n"


def _default(field: Mapping[str, Any]) -> str:
    default = field.get("default")
    return "" if default is None else f"`{json.dumps(default)}`"


def _type(schema: Mapping[str, Any], field: Mapping[str, Any]) -> str:
    options = [one for one in field.get("anyOf", [field]) if one != {"type": "null"}]
    if len(options) > 1:
        return "number or text"
    option = options[0]
    kind = str(option.get("type", "any"))
    values = _values(option)
    if "enum" in option:
        return " or ".join(f"`{json.dumps(one)}`" for one in option["enum"])
    if "$ref" in option:
        kind = "object" if "properties" in _resolved(schema, option) else "any"
    elif kind == "array":
        kind = f"list of {_type(schema, option.get('items', {}))}"
    elif kind == "object" and values:
        kind = f"object: name to {_type(schema, values)}"
    elif option.get("format") == "date":
        kind = "day"
    names = {"string": "text", "boolean": "true or false", "integer": "whole number"}
    return names.get(kind, kind)
