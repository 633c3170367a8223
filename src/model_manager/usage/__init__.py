"""Counts what calls cost; an unknown price is `None`, never 0."""

from model_manager.usage._pricing import Pricer
from model_manager.usage._settle import Settler

__all__ = ["Pricer", "Settler"]
