"""What an installed service does in figures, seen through its API alone: `openhtc bench`."""
