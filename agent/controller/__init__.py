"""The controller: an event comes in, a pure function of `agent.tekton` decides, an object or a status goes out.

Belongs here: talking to Kubernetes, and running. Never belongs here: a decision about a Tekton object. Nothing is
remembered: whatever is done follows from what the cluster holds, so that it may stop at any point and run twice.

`handlers` is all that kopf sees; `work` gives each object its turn; `resolver` and `launcher` do what is decided;
`cluster` is the one client. Begin with `handlers`, then `resolver`.
"""
