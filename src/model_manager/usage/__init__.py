"""Counts what calls cost, and says when it is enough.

The rule of this room: an unknown price is `None`, never 0; what is spent is the sum of
lines that are written once each.
"""

from model_manager.usage._account import Account, CallOutcome
from model_manager.usage._books import Books
from model_manager.usage._money import from_nano, to_nano
from model_manager.usage._notes import Send
from model_manager.usage.budgets._budgets import Standing
from model_manager.usage.ledger._entry import Entry
from model_manager.usage.ledger._tally import Tally
from model_manager.usage.pricing._pricing import Price, Pricer
from model_manager.usage.pricing._quotes import Quote
from model_manager.usage.pricing._rates import Rate, Rates
from model_manager.usage.reports._forecast import Forecast, forecast, forecast_since
from model_manager.usage.reports._report import GroupBy, UsageReport, UsageRow
from model_manager.usage.reports._span import Moment

__all__ = [
    "Account",
    "Books",
    "CallOutcome",
    "Entry",
    "Forecast",
    "GroupBy",
    "Moment",
    "Price",
    "Pricer",
    "Quote",
    "Rate",
    "Rates",
    "Send",
    "Standing",
    "Tally",
    "UsageReport",
    "UsageRow",
    "forecast",
    "forecast_since",
    "from_nano",
    "to_nano",
]
