"""Checks trees of scripts, in several processes where there are many."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Final, TypeAlias

from model_manager.gpu._policy import GpuPolicy
from model_manager.gpu.standards._checked import check_data, not_checked
from model_manager.gpu.standards._files import Script, data_of, scripts_below
from model_manager.gpu.standards._findings import Finding, StandardsReport
from model_manager.gpu.standards._fix import mended, write
from model_manager.gpu.standards._wanted import Wanted, wanted_of

_POOL_FROM: Final = 400
"""Files from which on it is worth to start processes."""
_CHUNK: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """What came of one file; it crosses processes."""

    findings: tuple[Finding, ...] = ()
    fixed: tuple[Finding, ...] = ()
    suppressed: int = 0


_Wanted: TypeAlias = tuple[Wanted, ...]
_Work: TypeAlias = Callable[[Sequence[Script]], list[_Outcome]]


def check_scripts(
    paths: Iterable[str | Path],
    policy: GpuPolicy | None = None,
    *,
    excludes: Sequence[str] = (),
    jobs: int = 1,
) -> StandardsReport:
    """Say which scripts break the standards of the cards; nothing is run or changed.

    Checked are Python files, notebooks, shell and batch scripts, PowerShell, `.env`
    files and units of systemd. Python is followed as it would run; everything else is
    read line by line.

    Args:
        paths: Files, and folders whose scripts are found. Folders such as `.git`,
            `.venv` or `build` below them are left out.
        policy: The rules; the team's standard, the RTX 3090 alone, where not given.
        excludes: Patterns of names or paths to leave out, as the shell writes them.
        jobs: How many processes work where there are many files. With more than one,
            the calling program needs `if __name__ == "__main__":` on Windows.

    Raises:
        InvalidRequestError: A path is not there.
    """
    wanted = wanted_of(policy or GpuPolicy())
    scripts = scripts_below(paths, excludes)
    return _report(scripts, partial(_check_all, wanted=wanted), jobs=jobs)


def fix_scripts(
    paths: Iterable[str | Path],
    policy: GpuPolicy | None = None,
    *,
    excludes: Sequence[str] = (),
    jobs: int = 1,
) -> StandardsReport:
    """Mend what can be mended without a person, and say what is left.

    A file keeps its encoding, its line ends, its comments and everything else. A change
    is only made where the changed file breaks fewer rules, and is written in one step.

    Args:
        paths: As for `check_scripts`, and so is everything else.
        policy: The rules.
        excludes: Patterns of names or paths to leave out.
        jobs: How many processes work where there are many files.

    Raises:
        InvalidRequestError: A path is not there.
    """
    wanted = wanted_of(policy or GpuPolicy())
    scripts = scripts_below(paths, excludes)
    return _report(scripts, partial(_fix_all, wanted=wanted), jobs=jobs)


def _report(scripts: Sequence[Script], work: _Work, *, jobs: int) -> StandardsReport:
    if jobs > 1 and len(scripts) >= _POOL_FROM:
        outcomes = _in_processes(scripts, work, jobs=jobs)
    else:
        outcomes = work(scripts)
    return StandardsReport(
        files=len(scripts),
        findings=tuple(f for outcome in outcomes for f in outcome.findings),
        fixed=tuple(f for outcome in outcomes for f in outcome.fixed),
        suppressed=sum(outcome.suppressed for outcome in outcomes),
    )


def _in_processes(
    scripts: Sequence[Script], work: _Work, *, jobs: int
) -> list[_Outcome]:
    """Share the work out; new processes are spawned, which works on every system."""
    chunks = [scripts[i : i + _CHUNK] for i in range(0, len(scripts), _CHUNK)]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(work, chunk) for chunk in chunks]
        return [
            outcome
            for chunk, future in zip(chunks, futures, strict=True)
            for outcome in _result(chunk, future)
        ]


def _result(chunk: Sequence[Script], future: Future[list[_Outcome]]) -> list[_Outcome]:
    """Return what came of some files; those whose process died are not checked."""
    try:
        return future.result()
    except BrokenProcessPool:
        why = "a process that checked files ended, perhaps for want of memory"
        return [
            _Outcome(findings=not_checked(script.path, why).findings)
            for script in chunk
        ]


def _check_all(scripts: Sequence[Script], *, wanted: _Wanted) -> list[_Outcome]:
    return [_check(script, wanted) for script in scripts]


def _fix_all(scripts: Sequence[Script], *, wanted: _Wanted) -> list[_Outcome]:
    return [_fix(script, wanted) for script in scripts]


def _check(script: Script, wanted: _Wanted) -> _Outcome:
    data = script.problem or data_of(script.path)
    if isinstance(data, str):
        return _Outcome(findings=not_checked(script.path, data).findings)
    checked = check_data(script.path, data, script.kind, wanted=wanted)
    return _Outcome(findings=checked.findings, suppressed=checked.suppressed)


def _fix(script: Script, wanted: _Wanted) -> _Outcome:
    data = script.problem or data_of(script.path)
    if isinstance(data, str):
        return _Outcome(findings=not_checked(script.path, data).findings)
    done = mended(script.path, data, script.kind, wanted=wanted)
    if done.data is not None:
        try:
            write(script.path, done.data)
        except OSError as error:
            why = f"it cannot be changed: {error.strerror or error}"
            unchanged = _check(script, wanted)
            failed = not_checked(script.path, why).findings
            return _Outcome(
                findings=(*failed, *unchanged.findings),
                suppressed=unchanged.suppressed,
            )
    return _Outcome(
        findings=done.checked.findings,
        fixed=done.fixed,
        suppressed=done.checked.suppressed,
    )
