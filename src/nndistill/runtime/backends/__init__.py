"""Runtimes that compute a network: one module each, imported only when it is used."""
