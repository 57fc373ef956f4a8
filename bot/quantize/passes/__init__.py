"""All tiers in one pass over the source: files, where things stand in them, and how they grow."""
