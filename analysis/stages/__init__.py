"""Stages of a run: ends of visits, error rates, gate readings and the stage table."""
