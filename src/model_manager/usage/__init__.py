"""Counts what calls cost; an unknown price is `None`, never 0."""

from model_manager.usage._money import NANO, from_nano, to_nano
from model_manager.usage._pricing import Price, Pricer
from model_manager.usage._quotes import Quote
from model_manager.usage._rates import Rate, Rates
from model_manager.usage._settle import Settler

__all__ = [
    "NANO",
    "Price",
    "Pricer",
    "Quote",
    "Rate",
    "Rates",
    "Settler",
    "from_nano",
    "to_nano",
]
