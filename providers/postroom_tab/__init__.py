"""Configuration in tab-separated files below `Config/`, as the system overview section 6 has them: all six provider families."""
