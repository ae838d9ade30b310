"""A self-hosted High Throughput Computing service that speaks the public Rescale HTC API."""

__version__ = "0.1.0"
