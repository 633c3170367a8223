"""What a forked child must not share with its parent: the selector of an event loop."""

from __future__ import annotations

import asyncio
import os
import selectors
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

if sys.platform == "linux":
    import select

    def part_selectors(loop: asyncio.AbstractEventLoop) -> None:
        """Give this process's copy of a loop an epoll of its own, by the same number.

        A fork copies the number but not what is behind it: removing a descriptor from
        the child's selector, as every transport does when it ends, would remove it
        from the parent's, whose loop then never wakes again. The copy watches what the
        parent's did, so that nothing is missed that is removed from it.
        """
        # No public way leads from a loop to its selector.
        selector = getattr(loop, "_selector", None)
        if not isinstance(selector, selectors.EpollSelector):
            return
        watched: Mapping[Any, selectors.SelectorKey] | None = selector.get_map()
        if watched is None:  # the loop was closed
            return
        try:
            number = selector.fileno()
        except ValueError:  # or its thread was about to close it when we forked
            return
        own = select.epoll()
        for key in watched.values():
            events = select.EPOLLIN if key.events & selectors.EVENT_READ else 0
            if key.events & selectors.EVENT_WRITE:
                events |= select.EPOLLOUT
            with suppress(OSError):  # closed by its owner meanwhile
                own.register(key.fd, events)
        os.dup2(own.fileno(), number, inheritable=False)
        own.close()

else:

    def part_selectors(loop: asyncio.AbstractEventLoop) -> None:
        """Do nothing: other systems share no selector with a child, or cannot fork."""
        del loop
