"""The sections about money: where the ledger is, and what may be spent."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from model_manager.config._schema import KeyVariable, Tokens
from model_manager.config._settings import Name, Section, Share
from model_manager.types import BudgetWindow


def _zone(name: str) -> str:
    fault = PydanticCustomError("time_zone", "is not a time zone")
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        pass
    else:
        return name
    raise fault


Folder = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
TimeZone = Annotated[
    str, StringConstraints(min_length=1, max_length=100), AfterValidator(_zone)
]
Dollars = Annotated[
    Decimal, Field(ge=0, le=1_000_000_000, decimal_places=9, allow_inf_nan=False)
]


class LedgerSettings(Section):
    """Where every call and its cost is written down."""

    backend: Literal["sqlite", "postgres", "memory", "off"] = Field(
        default="sqlite",
        description=(
            "`sqlite`: one file, for the processes of one machine; `postgres`: for"
            " many machines (extra `postgres`); `memory`: gone with the process, for"
            " tests; `off`: nothing is kept, and there can be no budgets."
        ),
    )
    folder: Folder | None = Field(
        default=None,
        description=(
            "Folder of `ledger.sqlite3`, and of what waits to be written there while"
            " it cannot. Not on a network drive. Default: `$MODEL_MANAGER_DATA`, else"
            " the user's data folder, such as `~/.local/share/model_manager` or"
            " `%LOCALAPPDATA%\\model_manager`."
        ),
    )
    url_env: KeyVariable | None = Field(
        default=None,
        description=(
            "For `postgres`: the NAME of the environment variable that holds its URL,"
            " `postgresql://user:password@host/database`."
        ),
    )
    on_ledger_failure: Literal["spool", "refuse"] = Field(
        default="spool",
        description=(
            "When the ledger cannot be written: `spool` goes on and keeps the lines in"
            " a file until it can; `refuse` sends nothing whose line is not on disk"
            " first. Under a hard budget the cloud is refused either way."
        ),
    )


class Budget(Section):
    """What may be spent, by whom, in which time; all budgets that apply must allow it.

    Work that is done on this machine counts against no budget and is refused by none.
    """

    usd: Dollars | None = Field(
        default=None, description="US dollars; text keeps them exact."
    )
    tokens: Tokens | None = Field(
        default=None, description="Tokens, in and out, beside or instead of `usd`."
    )
    window: BudgetWindow = Field(
        description="For how long: an `hour`, a `day`, a `month`, or `total`."
    )
    time_zone: TimeZone = Field(
        default="UTC",
        description="Where its days and months begin, such as `Europe/Paris`.",
    )
    agent: Name | None = Field(
        default=None, description="Only what this agent spends; default: everything."
    )
    provider: Name | None = Field(
        default=None, description="Only what is spent at this provider."
    )
    model: Name | None = Field(
        default=None,
        description="Only what this model costs; `provider/model` means one provider.",
    )
    metadata: Annotated[dict[Name, str], Field(min_length=1, max_length=1)] | None = (
        Field(
            default=None,
            description='Only calls with this label: `{"project": "apollo"}`.',
        )
    )
    hard: bool = Field(
        default=True,
        description=(
            "Whether calls that might exceed it are refused, and models whose price is"
            " unknown; else it is only watched."
        ),
    )
    low_at: Share = Field(
        default=0.8,
        description="Share from which on local models, then cheaper ones go first.",
    )
    output_tokens: Tokens = Field(
        default=8192,
        description=(
            "The longest answer where neither the call nor the model's"
            " `max_output_tokens` says: so much is reserved, and sent as the limit, so"
            " that no answer can cost more than was reserved."
        ),
    )
