"""Tables of a report, each with its title and caption."""
