"""From run directories to frames: files, one run or several, traces, stays in stages, readings of gates."""
