"""Virus scanning by clamd: a transfer event that asks ClamAV's daemon about every message."""
