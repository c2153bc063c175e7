"""Progress: observers of events, bars on a terminal, lines in a log."""
