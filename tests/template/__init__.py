"""The plugin template: rendered, checked as a third party would check it, installed, enabled in a running site."""
