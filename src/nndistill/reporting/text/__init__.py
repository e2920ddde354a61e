"""Sentences that say what the numbers mean."""
