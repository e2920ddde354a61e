"""The glue to stock nnU-Net v2: the only place that imports nnunetv2, of which nothing is changed."""

import os

from ..runtime.machine import usable_cores

# nnU-Net starts eight processes for anything parallel, however few cores there are, and reads this when imported.
os.environ.setdefault("nnUNet_def_n_proc", str(min(8, usable_cores())))
