"""Backups of an installation of one machine, and new installations made of them, as of any moment."""
