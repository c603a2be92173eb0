"""The controller: events requeue objects, pure functions of `agent.tekton` decide, objects and statuses are written.

Belongs here: requests to Kubernetes, and running. Never belongs here: a decision about a Tekton object. The controller
keeps no state: each action follows from the objects in the cluster. So it may stop at any point, and two may run.

Begin with `reconcile.handlers`, the only module that kopf calls, and `reconcile.work_queue`. `reconcile.resolver`,
`reconcile.custom_task` and `reconcile.step_failures` are the reconcilers; `api.kubernetes_client` is the client.
"""
