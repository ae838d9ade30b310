"""Faults of every kind while thousands of real jobs run, and a ledger that the service does not keep."""
