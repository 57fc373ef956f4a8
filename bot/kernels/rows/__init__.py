"""Rows of activations and of logits, sixteen numbers at a time: what a GPU would wait for."""
