"""Transfer events by a program of the operator's: the old contract with files and arguments, and exit codes as verdicts."""
