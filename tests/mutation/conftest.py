"""The mutation check is run by hand (see `run.py`); pytest collects nothing here."""

collect_ignore_glob = ["*.py"]
