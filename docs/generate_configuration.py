"""Write what is generated from the schema: the reference page and the JSON Schema."""

from __future__ import annotations

from pathlib import Path

from model_manager.config import render_reference, schema_text

ROOT = Path(__file__).parents[1]
SCHEMA = ROOT / "src" / "model_manager" / "config" / "models_config.schema.json"


def main() -> None:
    """Write both files; a test compares them with the code."""
    (ROOT / "docs" / "configuration.md").write_text(render_reference(), "utf-8")
    SCHEMA.write_text(schema_text(), "utf-8")


if __name__ == "__main__":
    main()
