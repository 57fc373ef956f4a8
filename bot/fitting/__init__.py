"""Tiers fitted to a size: how much each tensor matters, measured, and the best types for it."""
