"""What a network costs and what its features hold: complexity, spectrum, mismatch, diagnosis."""
