"""Faults on purpose: parts of an installation are killed and stopped while jobs run."""
