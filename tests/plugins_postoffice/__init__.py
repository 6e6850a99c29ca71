"""Tests of the post office connector."""
