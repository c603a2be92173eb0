"""Logs and metrics of the controller.

Belongs here: the one home of the Prometheus client and of the log format. Never belongs here: a decision.
"""
