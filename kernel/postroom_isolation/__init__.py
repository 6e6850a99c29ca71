"""Plugins in processes of their own: transfer events cross to a child, which can be killed. `isolating` makes them, `child` is the process."""
