"""Export: from a trained nnU-Net to files that other programs run, compared with PyTorch before they are kept."""
