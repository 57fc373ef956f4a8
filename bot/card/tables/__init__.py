"""The card's tables: cells ready to print, in order."""
