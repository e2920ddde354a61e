"""What models cost to run, measured side by side."""
