"""Each grammar against octets nobody meant: the invariant stands in the first line of each file."""
