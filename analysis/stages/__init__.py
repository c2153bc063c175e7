"""What each stay in a stage left behind: its visits, ends, error rates and gate readings."""
