"""Tables of runs: a row a stage, the tables of a paper, several runs side by side."""
