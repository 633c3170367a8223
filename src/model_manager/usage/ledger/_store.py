"""What is written to a ledger: lines once each, and the sums that follow from them.

Everything here happens inside one exclusive transaction of the caller's. Lines are
idempotent: whatever is written again changes nothing, so a batch whose end is not
known may be repeated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any, Final

from model_manager.usage.budgets._charges import Charge, charge
from model_manager.usage.budgets._limits import Amount
from model_manager.usage.ledger._database import (
    Database,
    DatabaseError,
    Table,
    by_id,
    transaction,
)
from model_manager.usage.ledger._lines import (
    CALL_COLUMNS,
    SEND_COLUMNS,
    CallLine,
    Key,
    SendLine,
)
from model_manager.usage.ledger._migrations import MIGRATIONS, SUMS_SINCE, VERSION
from model_manager.usage.ledger._sketch import packed, unpacked
from model_manager.usage.ledger._tally import COUNTS, SKETCHES, Tally

_LONGEST_CALL_US: Final = 25 * 3_600_000_000
"""A call may last a day; one that is open for longer has lost its process."""
_SWEPT: Final = 1_000
_KEY: Final = ("hour", "agent", "task", "endpoint", "model")


_CALL: Final = Table("call", CALL_COLUMNS, key=("call_id",))
_LABEL: Final = Table("label", ("call_id", "name", "value"), key=("call_id", "name"))
_ATTEMPT: Final = Table("attempt", ("call_id", *SEND_COLUMNS), key=("attempt_id",))
_HOURLY: Final = Table("hourly", (*_KEY, *COUNTS, *SKETCHES), key=_KEY)
_CALL_STATE: Final = Table("call", ("call_id", "outcome"), key=("call_id",))
_call_values: Final = attrgetter(*CALL_COLUMNS)
_send_values: Final = attrgetter(*SEND_COLUMNS)
_SEND_STATE: Final = Table(
    "attempt",
    ("attempt_id", "outcome", "charged_nano", "charged_tokens"),
    key=("attempt_id",),
)


def migrate(database: Database, *, most: int = VERSION) -> None:
    """Bring a ledger to the newest version, each step whole or not at all.

    Args:
        database: The ledger.
        most: The version to stop at, for tests of what older ones left.

    Raises:
        DatabaseError: It cannot be written, or is newer than this library.
    """
    while True:
        # Looked at inside a transaction: another process may be at it.
        with transaction(database):
            version = database.version()
            if version > VERSION:
                what = "it was written by a newer version of this library"
                remedy = "Update model-manager everywhere it is used."
                raise DatabaseError(what, remedy=remedy)
            if version >= most:
                return
            for statement in MIGRATIONS[version]:
                database.run(statement)
            if version + 1 == SUMS_SINCE:
                _sum_up(database)
            database.set_version(version + 1)


def _sum_up(database: Database) -> None:
    """Fill the hourly sums from all lines."""
    sums: dict[Key, Tally] = {}
    for row in database.query(f"SELECT {', '.join(CALL_COLUMNS)} FROM call"):
        call = CallLine(**dict(zip(CALL_COLUMNS, row, strict=True)))
        _add(sums, call.key, call.tally())
    for send in read_sends(database, "1 = 1", ()):
        _add(sums, send.key, send.tally())
    _add_sums(database, sums)


def write(
    database: Database, *, calls: Iterable[CallLine], sends: Iterable[SendLine]
) -> None:
    """Write lines, and add what is new in them to sums, budgets and holds."""
    sums: dict[Key, Tally] = {}
    _write_calls(database, {call.call_id: call for call in calls}, sums)
    _write_sends(database, {send.attempt_id: send for send in sends}, sums)
    _add_sums(database, sums)


def _write_calls(
    database: Database, calls: dict[str, CallLine], sums: dict[Key, Tally]
) -> None:
    condition = "outcome <> 'open' AND call_id IN"
    ended: dict[str, str] = dict(by_id(database, _CALL_STATE, condition, ids=calls))
    fresh = []
    for call_id, call in calls.items():
        old = ended.get(call_id)
        if old is not None:
            if old != "lost" or call.outcome == "open":
                continue
            lost = replace(call, outcome="lost", endpoint="", model="")
            _add(sums, lost.key, lost.tally(), sign=-1)
        if call.outcome != "open":
            _add(sums, call.key, call.tally())
        fresh.append(call)
    rows = [_call_values(one) for one in fresh]
    database.insert(_CALL, rows)
    labels = [
        (one.call_id, name, value)
        for one in fresh
        for name, value in one.labels.items()
    ]
    database.insert(_LABEL, labels)


def _write_sends(
    database: Database, sends: dict[str, SendLine], sums: dict[Key, Tally]
) -> None:
    condition = "outcome <> 'sent' AND attempt_id IN"
    ended = {
        row[0]: (row[1], Amount(row[2], row[3]))
        for row in by_id(database, _SEND_STATE, condition, ids=sends)
    }
    fresh, charges = [], []
    for attempt_id, send in sends.items():
        nano, tokens = send.charged_nano, send.charged_tokens
        if attempt_id in ended:
            outcome, charged = ended[attempt_id]
            if outcome != "lost" or send.outcome in {"sent", "lost"}:
                continue
            # It was given up, and charged as dear as it could have been.
            nano, tokens = nano - charged.nano, tokens - charged.tokens
            _add(sums, send.key, _given_up(), sign=-1)
        if send.outcome != "sent":
            _add(sums, send.key, send.tally())
        fresh.append(send)
        if send.outcome != "sent" and not send.is_local and (nano or tokens):
            charges.append(Charge(send, nano, tokens))
    rows = [(one.call.call_id, *_send_values(one)) for one in fresh]
    database.insert(_ATTEMPT, rows)
    if charges:
        charge(database, charges)


def _given_up() -> Tally:
    """Return what a lost send added to the sums."""
    return Tally(attempts=1, wasted_attempts=1, lost=1, wasted_unpriced=1)


def _add(sums: dict[Key, Tally], key: Key, tally: Tally, *, sign: int = 1) -> None:
    sums.setdefault(key, Tally()).add(tally, sign)


def _add_sums(database: Database, sums: Mapping[Key, Tally]) -> None:
    empty = Tally()
    added = {key: tally for key, tally in sums.items() if tally != empty}
    agents = {key[1] for key in added}
    for hour in {key[0] for key in added}:
        condition = f"hour = {hour:d} AND agent IN"
        for row in by_id(database, _HOURLY, condition, ids=agents):
            tally = added.get(row[: len(_KEY)])
            if tally is not None:
                tally.add(_stored(row[len(_KEY) :]))
    rows = [
        (
            *key,
            *[getattr(tally, name) for name in COUNTS],
            *[packed(getattr(tally, name)) for name in SKETCHES],
        )
        for key, tally in added.items()
    ]
    database.insert(_HOURLY, rows)


def _stored(row: Sequence[Any]) -> Tally:
    """Return the sums of a row."""
    tally = Tally()
    for name, count in zip(COUNTS, row, strict=False):
        setattr(tally, name, count)
    for name, text in zip(SKETCHES, row[len(COUNTS) :], strict=True):
        setattr(tally, name, unpacked(text))
    return tally


def sweep(database: Database, *, now_us: int) -> None:
    """Give up what its process never ended; it counts as dear as it may have been."""
    while _give_up_some(database, now_us=now_us):
        # All of it before anything is judged: what it held is free already.
        pass


def _give_up_some(database: Database, *, now_us: int) -> bool:
    """Give up a number of them; say whether there may be more."""
    lost = [
        replace(send, outcome="lost", settled_us=send.expires_us)
        for send in read_sends(
            database,
            "attempt.outcome = 'sent' AND attempt.expires_us <= ?",
            (now_us,),
            order="attempt.expires_us",
            most=_SWEPT,
        )
    ]
    columns = ", ".join(CALL_COLUMNS)
    rows = database.query(
        f"SELECT {columns} FROM call WHERE outcome = 'open' AND started_us <= ?"
        f" LIMIT {_SWEPT}",
        (now_us - _LONGEST_CALL_US,),
    )
    calls = [CallLine(**dict(zip(CALL_COLUMNS, row, strict=True))) for row in rows]
    if lost or calls:
        gone = [replace(call, outcome="lost") for call in calls]
        write(database, calls=gone, sends=lost)
    return max(len(lost), len(calls)) == _SWEPT


def read_sends(
    database: Database,
    where: str,
    values: Sequence[object],
    *,
    order: str = "attempt.attempt_id",
    most: int | None = None,
) -> Iterator[SendLine]:
    """Yield the sends that fit a condition on `attempt` and `call`, with the latter."""
    columns = ", ".join(f"attempt.{name}" for name in SEND_COLUMNS)
    calls = ", ".join(f"call.{name}" for name in CALL_COLUMNS)
    rows = database.query(
        f"SELECT {columns}, {calls} FROM attempt JOIN call"
        f" ON call.call_id = attempt.call_id WHERE {where} ORDER BY {order}"
        + (f" LIMIT {most:d}" if most else ""),
        values,
    )
    labels = read_labels(database, [row[len(SEND_COLUMNS)] for row in rows])
    for row in rows:
        send, call = row[: len(SEND_COLUMNS)], row[len(SEND_COLUMNS) :]
        yield SendLine(
            call=CallLine(
                **dict(zip(CALL_COLUMNS, call, strict=True)),
                labels=labels.get(call[0], {}),
            ),
            **dict(zip(SEND_COLUMNS, send, strict=True)),
        )


def read_labels(
    database: Database, call_ids: Iterable[str]
) -> Mapping[str, Mapping[str, str]]:
    """Return the labels of calls, for those that have any."""
    found: dict[str, dict[str, str]] = {}
    wanted = set(call_ids)
    for call_id, name, value in by_id(database, _LABEL, "call_id IN", ids=wanted):
        found.setdefault(call_id, {})[name] = value
    return found
