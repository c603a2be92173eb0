"""The work queue and the reconcilers: events in, objects and statuses out.

Belongs here: requests to the API server, the execution of decisions, requeueing. Never belongs here: a decision that
`agent.tekton` can take.
"""
