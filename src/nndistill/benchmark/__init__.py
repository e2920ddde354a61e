"""What models cost to run: latency, memory and size, measured in turns on the same case."""
