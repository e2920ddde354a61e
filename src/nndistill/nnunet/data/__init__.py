"""nnU-Net's data: raw format, folds, preprocessed cases."""
