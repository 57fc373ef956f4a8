"""Q2_K to Q6_K, sixteen super-blocks at a time."""
