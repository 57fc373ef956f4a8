"""New metadata in GGUF files whose tensors stay as they are."""
