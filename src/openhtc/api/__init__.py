"""The public API and the agents' one: a handler parses, makes one service call, and answers."""
