"""One call from an agent's name to an answer."""
