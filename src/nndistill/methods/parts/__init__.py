"""Pieces that methods are made of, none of them a method."""
