"""What sends cost, taken off the holds of their calls and added to what is spent.

Everything here happens inside one exclusive transaction of the caller's. The table
`spent` keeps the sums of the windows that some budget has asked about. Every writer
adds to all of them, whatever budgets its own configuration has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from model_manager.usage.budgets._limits import paid_scopes
from model_manager.usage.ledger._database import Database, Table, by_id
from model_manager.usage.ledger._lines import SendLine

SPENT: Final = Table(
    "spent",
    ("scope", "start_us", "end_us", "nano", "tokens"),
    key=("scope", "start_us", "end_us"),
)
HOLD: Final = Table(
    "hold",
    ("call_id", "scope", "nano", "tokens", "expires_us", "owner"),
    key=("call_id", "scope"),
)


@dataclass(frozen=True, slots=True)
class Charge:
    """What has to be added for a send; less than nothing where it was too much."""

    send: SendLine
    nano: int
    tokens: int

    @property
    def scopes(self) -> frozenset[str]:
        """The scopes that it counts in."""
        send, call = self.send, self.send.call
        return frozenset(
            paid_scopes(send.endpoint, send.model, agent=call.agent, labels=call.labels)
        )


def charge(database: Database, charges: Sequence[Charge]) -> None:
    """Add to what is spent in every window, and take it off the holds."""
    first = min(one.send.sent_us for one in charges)
    windows = database.fetch(
        SPENT.columns, f"{SPENT.select} WHERE end_us > ?", (first,)
    )
    if windows:
        _spend(database, windows, charges)
    calls = {one.send.call.call_id for one in charges}
    holds = list(by_id(database, HOLD, "call_id IN", ids=calls))
    if holds:
        _use(database, holds, charges)


def _spend(
    database: Database,
    windows: Sequence[tuple[str, int, int, int, int]],
    charges: Sequence[Charge],
) -> None:
    found = {(scope, start, end): [n, t] for scope, start, end, n, t in windows}
    changed = set()
    for one in charges:
        scopes, at = one.scopes, one.send.sent_us
        for key, sums in found.items():
            if key[0] in scopes and key[1] <= at < key[2]:
                sums[0] += one.nano
                sums[1] += one.tokens
                changed.add(key)
    rows = [(*key, *found[key]) for key in changed]
    database.insert(SPENT, rows)


def _use(
    database: Database,
    holds: Sequence[tuple[str, str, int, int, int, str]],
    charges: Sequence[Charge],
) -> None:
    left = {(hold[0], hold[1]): [hold[2], hold[3]] for hold in holds}
    for one in charges:
        for scope in one.scopes:
            amount = left.get((one.send.call.call_id, scope))
            if amount is not None:
                amount[0] = max(0, amount[0] - one.nano)
                amount[1] = max(0, amount[1] - one.tokens)
    rows = [(*hold[:2], *left[hold[0], hold[1]], *hold[4:]) for hold in holds]
    database.insert(HOLD, rows)
