"""Predictions compared with references: metrics per case, and statistics over cases; needs no network."""
