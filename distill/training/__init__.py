"""Stages of training in order, with probes between steps and gates that say when to move on."""
