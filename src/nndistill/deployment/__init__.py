"""Deployment: export a trained model, predict from NIfTI to NIfTI without PyTorch or nnU-Net, measure what it costs."""
