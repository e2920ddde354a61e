"""Trained models as nnU-Net leaves them."""
