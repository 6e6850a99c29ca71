"""What any server needs to run, whatever it serves: log lines, numbers, a bus, processes, deadlines. Imports nothing of postroom."""
