"""nnDistill: distil a trained 3D nnU-Net into a student many times smaller, trained to keep the fine detail.

Everything a user calls is here, one verb per job:

```python
import nndistill as nnd

student = nnd.prepare_student(teacher_folder, fold="0", recipe="quick")
nnd.train(student)
```

A name is imported when it is first used: importing PyTorch takes seconds, and a workstation that only predicts does
without it.
"""

from importlib.metadata import version

import lazy_loader

from .moved import lead_to_moved_modules

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = version("nndistill")

lead_to_moved_modules()
