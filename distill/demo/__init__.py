"""Embedded demonstration: synthetic speech and two small Qwen3-ASR configurations to distil on a CPU."""
