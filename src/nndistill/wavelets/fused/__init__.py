r"""Triton kernels that compute $\mathcal P_{\mathcal D}^\top \mathcal P_{\mathcal D}$ with little memory traffic.

- `axis`: the transform along one axis, arranged so that $\mathcal P^\top \mathcal P$ needs one way there and one back.
- `windows`: a banded matrix, cut into blocks of rows and the columns that each touches.
- `separable`, `separable_kernel`: sums of products of one matrix per axis, applied to the volumes of all channels.
- `pyramid`: all of these for one size of volume.
- `launches`: what each launch reads and writes, for those who count.

Only the modules called `…_kernel` import Triton.
"""
