"""From run directories to frames: files, one run or several, traces, visits of stages."""
