"""Export: from a trained nnU-Net to files that other programs run, checked against PyTorch before they are kept."""
