"""Embedded demonstration: synthetic speech and two small Qwen3-ASR configurations to distill on a CPU."""
