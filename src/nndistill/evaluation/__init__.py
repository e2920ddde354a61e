"""What a network costs and what its predictions are worth.

Names are imported from the modules: some need PyTorch, which the processes that score cases do without.
"""
