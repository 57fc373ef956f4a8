"""Presets of what is measured and calibrated on, and the lock that keeps data sets as they were."""
