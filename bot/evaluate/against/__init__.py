"""What files are measured against: how it cuts the text, and its log-probabilities."""
