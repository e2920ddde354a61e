"""The glue to stock nnU-Net v2: the only place that imports nnunetv2, of which nothing is changed."""
