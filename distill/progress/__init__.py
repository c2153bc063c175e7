"""What a person sees while work goes on: who is told what, bars on a terminal, lines in a log."""
