"""The rules on how the card is at this moment."""

from __future__ import annotations

from model_manager.errors import GpuUnhealthyError
from model_manager.gpu._cards import Gpu
from model_manager.gpu._policy import GpuPolicy
from model_manager.gpu._verdict import Check


def temperature(policy: GpuPolicy, gpu: Gpu) -> Check:
    """Judge how hot the card is."""
    rule, degrees = "temperature", gpu.temperature
    if degrees is None:
        return _unknown(rule, "the card does not tell its temperature")
    if degrees < policy.max_temperature:
        return Check(rule=rule, status="passed", seen=f"{degrees} °C")
    return Check(
        rule=rule,
        status="failed",
        seen=f"{degrees} °C",
        expected=f"less than {policy.max_temperature} °C",
        remedy="Stop the work; look at the fans, the dust and the room.",
        error=GpuUnhealthyError,
    )


def memory_errors(gpu: Gpu) -> Check:
    """Judge whether the card's memory fails."""
    rule = "memory_errors"
    if gpu.ecc_errors is None and gpu.failing_rows is None:
        return _unknown(rule, "the card counts no memory errors (GeForce cards do not)")
    if not gpu.ecc_errors and not gpu.failing_rows:
        return Check(rule=rule, status="passed", seen="none")
    words = f"{gpu.ecc_errors or 0} that could not be corrected"
    if gpu.failing_rows:
        words += ", and rows for which no spare is left"
    return Check(
        rule=rule,
        status="failed",
        seen=words,
        expected="none",
        remedy="Restart the machine; where they come back, the card must be replaced.",
        error=GpuUnhealthyError,
    )


def throttling(gpu: Gpu) -> Check:
    """Tell whether heat or power holds the card back now; a warning at most."""
    rule, bad = "throttling", gpu.held_back
    if bad is None:
        return _unknown(rule, "the card does not tell why its clocks are low")
    if not bad:
        return Check(rule=rule, status="passed", seen="not held back")
    return Check(
        rule=rule,
        status="warning",
        seen=f"held back: {', '.join(bad)}",
        expected="full clocks",
        remedy="Look at the fans, the power supply and its cables.",
    )


def _unknown(rule: str, why: str) -> Check:
    return Check(rule=rule, status="skipped", seen=why, is_needed=False)
