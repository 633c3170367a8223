"""The tables of the ledger, in numbered steps; a step that was released never changes.

The SQL is what SQLite and PostgreSQL both understand. Money is whole nano-USD (1e-9
USD), time whole microseconds since 1970; what is unknown is NULL.
"""

from __future__ import annotations

from typing import Final

from model_manager.usage.ledger._tally import COUNTS, SKETCHES

_CALL: Final = """
CREATE TABLE call (
    call_id TEXT PRIMARY KEY,
    agent TEXT NOT NULL,
    task TEXT,
    operation TEXT NOT NULL,
    privacy TEXT NOT NULL,
    config_version TEXT NOT NULL,
    started_us BIGINT NOT NULL,
    outcome TEXT NOT NULL,
    error TEXT,
    duration_us BIGINT,
    first_token_us BIGINT,
    sends BIGINT NOT NULL,
    fell_back INTEGER NOT NULL,
    endpoint TEXT NOT NULL,
    model TEXT NOT NULL,
    is_local INTEGER NOT NULL
)"""
_SEND: Final = """
CREATE TABLE attempt (
    attempt_id TEXT PRIMARY KEY,
    call_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    provider TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    model TEXT NOT NULL,
    answered_by TEXT,
    is_local INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    error TEXT,
    status INTEGER,
    sent_us BIGINT NOT NULL,
    settled_us BIGINT,
    expires_us BIGINT NOT NULL,
    duration_us BIGINT,
    first_token_us BIGINT,
    paced_us BIGINT,
    waited_us BIGINT NOT NULL,
    queued_us BIGINT NOT NULL,
    hedged INTEGER NOT NULL,
    input_tokens BIGINT,
    output_tokens BIGINT,
    cache_read_tokens BIGINT,
    cache_write_tokens BIGINT,
    cache_write_1h_tokens BIGINT,
    reasoning_tokens BIGINT,
    estimated INTEGER NOT NULL,
    service_tier TEXT,
    usage_raw TEXT,
    cost_nano BIGINT,
    charged_nano BIGINT NOT NULL,
    charged_tokens BIGINT NOT NULL,
    price_source TEXT,
    saved_nano BIGINT,
    saved_against TEXT,
    request_id TEXT
)"""
_LABEL: Final = """
CREATE TABLE label (
    call_id TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (call_id, name)
)"""
_HOLD: Final = """
CREATE TABLE hold (
    call_id TEXT NOT NULL,
    scope TEXT NOT NULL,
    nano BIGINT NOT NULL,
    tokens BIGINT NOT NULL,
    expires_us BIGINT NOT NULL,
    owner TEXT NOT NULL,
    PRIMARY KEY (call_id, scope)
)"""
_SPENT: Final = """
CREATE TABLE spent (
    scope TEXT NOT NULL,
    start_us BIGINT NOT NULL,
    end_us BIGINT NOT NULL,
    nano BIGINT NOT NULL,
    tokens BIGINT NOT NULL,
    PRIMARY KEY (scope, start_us, end_us)
)"""
_HOURLY: Final = f"""
CREATE TABLE hourly (
    hour BIGINT NOT NULL,
    agent TEXT NOT NULL,
    task TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    model TEXT NOT NULL,
    {" ".join(f"{name} BIGINT NOT NULL," for name in COUNTS)}
    {" ".join(f"{name} TEXT NOT NULL," for name in SKETCHES)}
    PRIMARY KEY (hour, agent, task, endpoint, model)
)"""

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    # 1: calls, and their sends.
    (
        _CALL,
        _SEND,
        _LABEL,
        "CREATE INDEX attempt_by_call ON attempt (call_id)",
        "CREATE INDEX attempt_by_time ON attempt (sent_us)",
    ),
    # 2: budgets: what is held and spent, and which sends and calls never ended.
    (
        _HOLD,
        _SPENT,
        "CREATE INDEX hold_by_scope ON hold (scope, expires_us)",
        "CREATE INDEX attempt_under_way ON attempt (expires_us) WHERE outcome = 'sent'",
        "CREATE INDEX call_under_way ON call (started_us) WHERE outcome = 'open'",
    ),
    # 3: sums by the hour, for reports; `Store` fills them from the rows that are there.
    (
        _HOURLY,
        "CREATE INDEX attempt_by_end ON attempt (settled_us)",
    ),
)
VERSION: Final = len(MIGRATIONS)
SUMS_SINCE: Final = 3
"""The version that brought the hourly sums."""
