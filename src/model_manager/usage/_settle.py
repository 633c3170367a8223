"""The step that runs once for every try, however it ended: count it and price it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from model_manager.types import AttemptRecord
from model_manager.usage._pricing import Pricer

_FIRST_ERROR_STATUS = 400


class Settler:
    """Writes the price into a finished attempt's record."""

    def __init__(self, pricer: Pricer) -> None:
        """Take the pricer of the running configuration."""
        self._pricer = pricer

    def warm(self) -> None:
        """Load the price table now, instead of with the first answer."""
        self._pricer.warm()

    def settle(
        self, record: AttemptRecord, *, model: str | None = None
    ) -> AttemptRecord:
        """Return the record with its cost.

        An attempt that a provider refused with an HTTP error cost nothing; one that
        timed out or broke may have been billed, so its cost is unknown unless its
        tokens are known.

        Args:
            record: The attempt as it ended.
            model: The model that says it answered, for the price table.
        """
        if record.usage is not None:
            price = self._pricer.price(record.candidate, record.usage, model=model)
            return replace(record, cost=price.usd, price_source=price.source)
        if record.candidate.is_local:
            return replace(record, cost=Decimal(0), price_source="local")
        status = getattr(record.error, "status", None)
        if record.outcome == "failed" and (status or 0) >= _FIRST_ERROR_STATUS:
            return replace(record, cost=Decimal(0), price_source="not billed")
        return record
