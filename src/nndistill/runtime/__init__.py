"""Runtime: from NIfTI to label maps with an exported network; needs neither PyTorch nor nnU-Net."""
