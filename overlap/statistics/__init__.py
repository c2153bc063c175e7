"""Measurements at each position: the plan of a call, its kernels, meters, sweeps and gains."""
