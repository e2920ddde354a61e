"""The smallest training there is."""

TINY = ["--recipe", "quick", "--iterations", "2", "--device", "cpu"]
