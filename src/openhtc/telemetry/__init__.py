"""What a running program tells its operator."""

from openhtc.telemetry.logs import configure

__all__ = ["configure"]
