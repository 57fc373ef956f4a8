"""ggml's quantizers, sixteen numbers at a time, with the same bits."""
