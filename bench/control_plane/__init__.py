"""What the control plane does by itself: agents that start nothing, the public API, the real service below both."""
