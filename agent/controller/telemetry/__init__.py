"""Logs and metrics of the controller.

Belongs here: the Prometheus client and the log format. Never belongs here: a decision.
"""
