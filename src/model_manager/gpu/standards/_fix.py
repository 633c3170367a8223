"""Mends files: only what a second check says is better, and nothing else."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from model_manager.gpu.standards._checked import Checked, FileFormat, check_data
from model_manager.gpu.standards._findings import Finding
from model_manager.gpu.standards._wanted import Wanted

_MAX_ROUNDS: Final = 6
"""How often a file is mended again: one change can make room for another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mended:
    """What mending a file came to."""

    checked: Checked
    """What is still to be said of it."""
    fixed: tuple[Finding, ...] = ()
    data: bytes | None = None
    """The new bytes; `None` where nothing changed."""


def mended(
    path: str, data: bytes, kind: FileFormat, *, wanted: tuple[Wanted, ...]
) -> Mended:
    """Mend what can be mended in the bytes of a file; nothing is written."""
    checked = check_data(path, data, kind, wanted=wanted)
    fixed: list[Finding] = []
    new = data
    for _ in range(_MAX_ROUNDS):
        for attempt in _attempts(checked.findings):
            changed = _changed(checked, attempt)
            if changed is None or changed == new:
                continue
            after = check_data(path, changed, kind, wanted=wanted)
            if _is_better(before=checked.findings, after=after.findings):
                fixed += _gone(attempt, before=checked.findings, after=after.findings)
                checked, new = after, changed
                break
        else:
            break
    return Mended(
        checked=checked, fixed=tuple(fixed), data=None if new == data else new
    )


def write(path: str, data: bytes) -> None:
    """Write a file in one step: whoever reads it sees the old one or the new one.

    Raises:
        OSError: It cannot be written; the old one is untouched.
    """
    # A link stays a link, to the file that is changed.
    target = Path(path).resolve()
    if not os.access(target, os.W_OK):
        raise PermissionError(13, "it may not be written", str(target))
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        shutil.copymode(target, name)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _attempts(findings: Sequence[Finding]) -> Iterator[list[Finding]]:
    """Yield what to mend together: all of it, else rule by rule, else one by one."""
    # In the order of the rules: variables are set above the call that checks them.
    fixable = sorted((f for f in findings if f.fixable), key=lambda f: f.rule.id)
    rules = dict.fromkeys(finding.rule.id for finding in fixable)
    yield fixable
    if len(rules) > 1:
        for rule in rules:
            yield [finding for finding in fixable if finding.rule.id == rule]
    if len(fixable) > 1:
        yield from ([finding] for finding in fixable)


def _changed(checked: Checked, findings: Sequence[Finding]) -> bytes | None:
    edits = [edit for finding in findings for edit in finding.edits]
    if not edits or checked.source is None:
        return None
    if checked.notebook is not None:
        text = checked.notebook.edited(edits)
    else:
        text = checked.source.edited(edits)
    try:
        return checked.source.encoded(text)
    except UnicodeEncodeError:
        return None


def _is_better(*, before: Sequence[Finding], after: Sequence[Finding]) -> bool:
    """Return whether there is less of something, and more of nothing."""
    old = Counter(finding.rule.id for finding in before)
    new = Counter(finding.rule.id for finding in after)
    return new.total() < old.total() and new <= old


def _gone(
    attempt: Sequence[Finding], *, before: Sequence[Finding], after: Sequence[Finding]
) -> list[Finding]:
    """Return what an attempt mended: of every rule as many as there are fewer now."""
    fewer = Counter(finding.rule.id for finding in before)
    fewer.subtract(finding.rule.id for finding in after)
    said = {finding.message for finding in after}
    gone: list[Finding] = []
    # A change may move what is left; what says the same as before is what is left.
    for finding in sorted(attempt, key=lambda finding: finding.message in said):
        if fewer[finding.rule.id] > 0:
            fewer[finding.rule.id] -= 1
            gone.append(finding)
    return gone
