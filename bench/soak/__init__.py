"""Long runs on the real service: a million jobs of every kind, very long logs, very many logs."""
