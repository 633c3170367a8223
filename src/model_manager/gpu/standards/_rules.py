"""The rules of the standards, each with its number, its name and what it is for."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

PYTHON: Final = f"{sys.version_info.major}.{sys.version_info.minor}"
"""The Python that scripts are read as: that of this interpreter."""

Severity: TypeAlias = Literal["error", "warning", "info"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StandardsRule:
    """One rule that scripts are checked by."""

    id: str
    """Its number for life, e.g. `GPU001`."""
    slug: str
    """Its name in words, e.g. `environment-missing`."""
    severity: Severity
    """`error` and `warning` make a check fail; `info` does not."""
    summary: str
    """What is wrong, in one sentence."""
    remedy: str
    """What to do about it, in one sentence."""


def _rule(number: str, slug: str, severity: Severity, *words: str) -> StandardsRule:
    summary, remedy = words
    return StandardsRule(
        id=f"GPU{number}",
        slug=slug,
        severity=severity,
        summary=summary,
        remedy=remedy,
    )


MISSING: Final = _rule(
    "001",
    "environment-missing",
    "error",
    "A CUDA library is imported and a variable of the standard is not set before it.",
    "Set the variables at the top of the file, or call apply_gpu_environment() there.",
)
LATE: Final = _rule(
    "002",
    "environment-late",
    "error",
    "A variable is set where it comes too late for the import of a CUDA library.",
    "Move the setting to the top of the file, above every import of a CUDA library.",
)
CONDITIONAL: Final = _rule(
    "003",
    "environment-conditional",
    "error",
    "A variable is set before the import under a condition only.",
    "Set the variable at the top of the file, without a condition.",
)
WRONG_VALUE: Final = _rule(
    "004",
    "environment-wrong-value",
    "error",
    "A variable is set to a value that the standard does not allow.",
    "Set it to the value of the standard.",
)
UNKNOWN_VALUE: Final = _rule(
    "005",
    "environment-unknown-value",
    "warning",
    "A variable is set to a value that only a run can tell, so it cannot be checked.",
    "Write the value down in the file, or call apply_gpu_environment().",
)
DEFAULT_ONLY: Final = _rule(
    "006",
    "environment-default-only",
    "warning",
    "A variable is only set where it was not set before, so any value may stay.",
    "Assign it: os.environ[NAME] = VALUE.",
)
PUTENV: Final = _rule(
    "007",
    "environment-putenv",
    "error",
    "os.putenv() does not change os.environ, so Python goes on with the old value.",
    "Assign to os.environ[NAME] instead.",
)
REMOVED: Final = _rule(
    "008",
    "environment-removed",
    "error",
    "A variable of the standard is removed.",
    "Leave the variable set for as long as the program runs.",
)
SUBPROCESS: Final = _rule(
    "009",
    "environment-subprocess",
    "error",
    "Another program is given an environment that the standard does not allow.",
    "Give it a copy of os.environ, or the value of the standard.",
)
VALIDATION_MISSING: Final = _rule(
    "010",
    "validation-missing",
    "error",
    "The card is used and nothing validates it.",
    "Call validate_rtx3090_mandatory() of model_manager.gpu before the first use.",
)
VALIDATION_LATE: Final = _rule(
    "011",
    "validation-late",
    "error",
    "The card is used before it is certain that it was validated.",
    "Call the validation once, without a condition, before the first use of the card.",
)
VALIDATION_EMPTY: Final = _rule(
    "012",
    "validation-empty",
    "error",
    "The file's own validation never refuses a card.",
    "Let it raise where the card is not the one, or call that of model_manager.gpu.",
)
OTHER_DEVICE: Final = _rule(
    "020",
    "other-device",
    "error",
    "Another card than the first visible one is named.",
    "Name cuda:0: CUDA_VISIBLE_DEVICES shows one card, and its number is 0.",
)
UNKNOWN_DEVICE: Final = _rule(
    "021",
    "unknown-device",
    "warning",
    "The number of a card is only known in a run, so it cannot be checked.",
    "Name cuda:0, the one card that is visible.",
)
IGNORED_VARIABLE: Final = _rule(
    "030",
    "ignored-variable",
    "info",
    "No version of Ollama reads this variable.",
    "Leave it if other tools read it; CUDA_VISIBLE_DEVICES is what chooses the card.",
)
LAUNCH: Final = _rule(
    "031",
    "launch-without-environment",
    "error",
    "A program that uses the card is started without the variables of the standard.",
    "Set CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER above the line that starts it.",
)
VULKAN: Final = _rule(
    "032",
    "vulkan-open",
    "warning",
    "Ollama from 0.30 on also reaches cards through Vulkan, hidden from CUDA or not.",
    "Set OLLAMA_VULKAN=0 above the line that starts it.",
)
SUPPRESSION: Final = _rule(
    "040",
    "suppression-invalid",
    "error",
    "A comment that suppresses findings has no reason, or names no rule.",
    "Write: gpu-standards: ignore[RULE] why it is right here.",
)
NOT_CHECKED: Final = _rule(
    "090",
    "not-checked",
    "warning",
    "The file cannot be checked.",
    "Make it readable, or leave it out with --exclude.",
)

RULES: Final = (
    *(MISSING, LATE, CONDITIONAL, WRONG_VALUE, UNKNOWN_VALUE, DEFAULT_ONLY),
    *(PUTENV, REMOVED, SUBPROCESS),
    *(VALIDATION_MISSING, VALIDATION_LATE, VALIDATION_EMPTY),
    *(OTHER_DEVICE, UNKNOWN_DEVICE),
    *(IGNORED_VARIABLE, LAUNCH, VULKAN),
    *(SUPPRESSION, NOT_CHECKED),
)
"""Every rule, in the order of the numbers."""
BY_NAME: Final[Mapping[str, StandardsRule]] = MappingProxyType(
    {name: rule for rule in RULES for name in (rule.id, rule.slug)}
)
"""A rule by its number or its name."""


def standards_rules() -> tuple[StandardsRule, ...]:
    """Return every rule that scripts are checked by, in the order of the numbers."""
    return RULES
