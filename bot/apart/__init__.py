"""Processes of their own for work on strangers' bytes: what they see, what they may use."""
