"""Who would answer, in which order, and why?

`explain` plans a call without sending anything; the response keeps the same route.
"""

from __future__ import annotations

from pathlib import Path

from model_manager import ModelManager

CONFIG = Path(__file__).with_name("models_config.json")


def main() -> None:
    """Explain three calls of the example configuration, with one key missing."""
    # The keys are read from here instead of the process's environment.
    manager = ModelManager(CONFIG, environ={"ANTHROPIC_API_KEY": "not-a-real-key"})

    print(manager.explain("agent_02_architecte_code_expert", "Débogue ce module"))
    print()
    print(manager.explain("agent_04_expert_securite_crypto"))
    print()

    route = manager.explain("agent_22_architecture_consultant_enterprise")
    for place, candidate in enumerate(route.candidates, start=1):
        print(place, candidate.label, candidate.role, candidate.is_local)
    for refusal in route.refused:
        print("refused:", refusal.candidate.label, refusal.code)
    print(len(route.to_dict()), "fields ready for JSON")


if __name__ == "__main__":
    main()
