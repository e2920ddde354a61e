"""NIfTI volumes: reading, writing and comparing grids."""
