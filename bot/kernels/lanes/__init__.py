"""Sixteen numbers side by side, and what ggml's quantizers share of arithmetic on them."""
