"""Stages of training in order, with probes between steps and gates that decide when a stage is over."""
