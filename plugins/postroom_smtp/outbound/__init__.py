"""The outbound agent: mail that leaves this house by SMTP. Start reading at `agent.py`."""
