"""The adapter that answers by itself, offline, so that everything can be tried out.

The rule of this room: the same request always gets the same answer, every answer is
marked as simulated, and nothing is opened, read or sent.
"""

from model_manager.providers.simulated._provider import SimulatedProvider

__all__ = ["SimulatedProvider"]
