"""The IQ types: levels that are points of a grid, or not evenly spaced."""
