"""Checks of a recipe's data, models and resources before training; each is a function that returns findings."""
