"""Counts what calls cost, and says when it is enough.

The rule of this room: an unknown price is `None`, never 0; what is spent is the sum of
lines that are written once each.
"""

from model_manager.usage._account import Account, CallOutcome
from model_manager.usage._books import Books
from model_manager.usage._budgets import Standing
from model_manager.usage._entry import Entry
from model_manager.usage._forecast import Forecast, forecast, forecast_since
from model_manager.usage._money import from_nano, to_nano
from model_manager.usage._notes import Send
from model_manager.usage._pricing import Price, Pricer
from model_manager.usage._quotes import Quote
from model_manager.usage._rates import Rate, Rates
from model_manager.usage._report import GroupBy, UsageReport, UsageRow
from model_manager.usage._span import Moment
from model_manager.usage._tally import Tally

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
