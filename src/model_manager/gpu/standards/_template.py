"""The file that a new script for the card begins as."""

from __future__ import annotations

import json
from typing import Final

from model_manager.gpu._policy import GpuPolicy
from model_manager.gpu.standards._wanted import Wanted, wanted_of

_HEAD: Final = '''\
"""{name}: say here in one sentence what it does."""

from __future__ import annotations
'''
_APPLY: Final = """
from model_manager.gpu import apply_gpu_environment, validate_rtx3090_mandatory

# 1. The environment, before anything that loads CUDA is imported.
apply_gpu_environment()

# 2. The card: an error ends the script here if it is not the one.
validate_rtx3090_mandatory()
"""
_PLAIN: Final = """
import os

# 1. The environment, before anything that loads CUDA is imported.
{settings}
"""
_CHECK: Final = '''
# 2. Only now the libraries that load CUDA.
import torch  # noqa: E402 - below the environment

CARDS = {{
{rows}}}


def validate_rtx3090_mandatory() -> None:
    """Refuse every card but the {card}."""
    if not torch.cuda.is_available():
        message = "CUDA is not available."
        raise RuntimeError(message)
    name = torch.cuda.get_device_name(0)
    if torch.cuda.device_count() != 1 or name not in CARDS:
        message = f"CUDA shows {{name}}, and only the {card} may be used."
        raise RuntimeError(message)


# 3. The card: an error ends the script here if it is not the one.
validate_rtx3090_mandatory()
'''
_IMPORT: Final = """
# 3. Only now the libraries that load CUDA.
import torch  # noqa: E402 - below the environment
"""
_MAIN: Final = '''

def main() -> None:
    """Do the work; the one visible card is cuda:0."""
    device = torch.device("cuda:0")
    numbers = torch.arange(3, device=device)
    print(f"{torch.cuda.get_device_name(device)}: {numbers.sum().item()}")


if __name__ == "__main__":
    main()
'''


def gpu_template(
    policy: GpuPolicy | None = None, *, name: str = "gpu_script", plain: bool = False
) -> str:
    """Return a new script for the card, in the order that the standards ask for.

    Args:
        policy: The rules; the team's standard, the RTX 3090 alone, where not given.
        name: What the script is called.
        plain: Whether it needs nothing of this library: it sets the variables itself
            and brings a validation of its own, which looks at the card's name alone.
            For a policy that is not the team's standard it is always so.
    """
    policy = policy or GpuPolicy()
    title = " ".join(name.split()).replace("\\", "/").replace('"', "'") or "gpu_script"
    head = _HEAD.format(name=title)
    if not plain and policy == GpuPolicy():
        return head + _APPLY + _IMPORT + _MAIN
    names = sorted(json.dumps(name) for card in policy.cards for name in card.names)
    rows = "".join(f"    {name},\n" for name in names)
    check = _CHECK.format(card=_quotable(policy.name), rows=rows)
    return head + _PLAIN.format(settings=_settings(wanted_of(policy))) + check + _MAIN


def _settings(wanted: tuple[Wanted, ...]) -> str:
    return "\n".join(
        f'os.environ["{one.name}"] = {json.dumps(one.value)}' for one in wanted
    )


def _quotable(text: str) -> str:
    return text.replace("\\", "/").replace('"', "'").replace("{", "(").replace("}", ")")
