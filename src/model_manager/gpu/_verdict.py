"""What the guard found: every rule with what was seen, expected, and what to do."""

from __future__ import annotations

import html
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Final, Literal, TypeAlias

from typing_extensions import override

from model_manager.errors import GpuError, GpuNotCheckedError
from model_manager.gpu._cards import Gpu

CheckStatus: TypeAlias = Literal["passed", "warning", "failed", "skipped"]

_MARKS: Final = {"passed": "ok", "warning": "warn", "failed": "FAIL", "skipped": "-"}
_HEAD: Final = "".join(
    f'<th style="text-align:left">{name}</th>'
    for name in ("rule", "status", "seen", "expected", "what to do")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One rule, and how it went."""

    rule: str
    """Its name, e.g. `visible_devices`; the table in docs/gpu.md explains each."""
    status: CheckStatus
    """`warning`: worth knowing, and no reason to refuse; `skipped`: not checked."""
    seen: str
    """What was found; of a skipped rule, why nobody looked."""
    expected: str = ""
    remedy: str = ""
    """What to do; empty where there is nothing to do."""
    is_needed: bool = True
    """Whether the verdict can only be good where this rule was checked."""
    error: type[GpuError] = GpuNotCheckedError
    """What is raised for it where it failed."""

    @property
    def blocks(self) -> bool:
        """Whether the card may not be used because of it."""
        return self.status == "failed" or (self.status == "skipped" and self.is_needed)

    @property
    def mark(self) -> str:
        """How it went, in up to four letters.

        `open` is a rule that nobody could check and that must hold; `-` one that was
        left out and need not hold.
        """
        is_open = self.status == "skipped" and self.is_needed
        return "open" if is_open else _MARKS[self.status]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether the card may be used: every rule in the order in which it was checked."""

    policy: str
    """The policy's name."""
    checks: tuple[Check, ...]
    gpu: Gpu | None = None
    """The card that CUDA would use, where that is certain and the policy allows it."""

    @property
    def passed(self) -> bool:
        """Whether every rule that must hold was checked and holds."""
        return self.gpu is not None and not any(check.blocks for check in self.checks)

    @property
    def failure(self) -> Check | None:
        """The first rule that keeps the card from being used; failures come first."""
        failed = (check for check in self.checks if check.status == "failed")
        blocking = (check for check in self.checks if check.blocks)
        return next(failed, None) or next(blocking, None)

    def check(self, rule: str) -> Check:
        """Return how a rule went.

        Raises:
            KeyError: There is no such rule.
        """
        for check in self.checks:
            if check.rule == rule:
                return check
        raise KeyError(rule)

    def raise_for_failure(self) -> None:
        """Raise the error of the first rule that was broken; return if none was.

        Raises:
            GpuError: The subclass says which; it holds this verdict.
        """
        failure = self.failure
        if failure is None:
            return
        error = failure.error if failure.status == "failed" else GpuNotCheckedError
        expected = f" (expected: {failure.expected})" if failure.expected else ""
        message = f"{self.policy}: {failure.seen}{expected}."
        remedy = failure.remedy or "'model-manager gpu check' lists every rule."
        raise error(message, remedy=remedy, rule=failure.rule, verdict=self)

    def to_dict(self) -> dict[str, object]:
        """Return the verdict as plain data, ready for JSON."""
        checks = [
            {
                "rule": check.rule,
                "status": check.status,
                "seen": check.seen,
                "expected": check.expected,
                "remedy": check.remedy,
                "needed": check.is_needed,
                "error": check.error.__name__ if check.blocks else None,
            }
            for check in self.checks
        ]
        return {
            "policy": self.policy,
            "passed": self.passed,
            "gpu": asdict(self.gpu) if self.gpu is not None else None,
            "checks": checks,
        }

    @override
    def __str__(self) -> str:
        """Return the verdict as text for people, a line or two a rule."""
        width = max((len(check.rule) for check in self.checks), default=0)
        lines = [f"{self.policy}: {'passed' if self.passed else 'REFUSED'}"]
        for check in self.checks:
            lines.append(f"  {check.mark:<4}  {check.rule:<{width}}  {check.seen}")
            if check.blocks or check.status == "warning":
                lines += _advice(check, indent=" " * (width + 10))
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = "".join(_html_row(check) for check in self.checks)
        head = f"{self.policy}: {'passed' if self.passed else 'refused'}"
        return (
            f"<table><caption><b>{html.escape(head)}</b></caption><thead><tr>"
            f"{_HEAD}</tr></thead><tbody>{rows}</tbody></table>"
        )


def _advice(check: Check, *, indent: str) -> Iterable[str]:
    if check.expected:
        yield f"{indent}expected: {check.expected}"
    if check.remedy:
        yield f"{indent}to do: {check.remedy}"


def _html_row(check: Check) -> str:
    weight = ";font-weight:bold" if check.blocks else ""
    style = f' style="text-align:left{weight}"'
    cells = (check.rule, check.mark, check.seen, check.expected, check.remedy)
    return (
        "<tr>"
        + "".join(f"<td{style}>{html.escape(cell)}</td>" for cell in cells)
        + "</tr>"
    )
