"""The running of a site: parts put together, processes, housekeeping, control. Knows the kernel; no mail rule lives here."""
