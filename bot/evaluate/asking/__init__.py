"""What files answer to questions: prompts of ours, and tasks of lm-evaluation-harness."""
