"""The command line: the operator's words. `main.py` is where `postroom` starts."""
