"""DCD's distance by Triton kernels: what mixes channels, and how it joins with the transforms of `wavelets.fused`."""
