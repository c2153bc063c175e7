"""Statistics of samples: intervals, tests and corrections, which know no run."""
