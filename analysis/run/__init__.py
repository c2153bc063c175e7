"""Reads run directories as frames: files, one run or several, traces, visits of stages."""
