"""Who hears what happens: the bus and the log.

The rule of this room: it listens and never changes a call; a listener that fails is
logged and left out of the way.
"""

from model_manager.observability._bus import Bus, Listener
from model_manager.observability._log import EventLog

__all__ = ["Bus", "EventLog", "Listener"]
