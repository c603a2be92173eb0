"""Events in, objects and statuses out: one reconciler for each kind of object.

Belongs here: asking, obeying `agent.tekton`, requeueing. Never belongs here: a decision that `agent.tekton` can take.
"""
