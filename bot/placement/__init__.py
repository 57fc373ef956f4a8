"""Where a model's weights go on a machine: graphics cards and main memory."""
