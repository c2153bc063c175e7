"""Tables of runs: comparison of several runs, and the tables of a paper."""
