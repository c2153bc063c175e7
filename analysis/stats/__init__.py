"""Statistics of samples, independent of runs: intervals, tests and corrections."""
