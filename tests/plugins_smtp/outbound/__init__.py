"""Tests of postroom_smtp.outbound."""
