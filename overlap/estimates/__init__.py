"""Averages over positions and utterances with their intervals, and the tables that show them."""
