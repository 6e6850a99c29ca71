"""postroom_mime, a test file a module."""
