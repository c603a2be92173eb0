"""Tekton objects in, Tekton objects out: steps for tasks, sources for references, bundles.

Belongs here: pure functions on dicts as YAML or the API server gives them. Never belongs here: I/O, a clock, a client
of Kubernetes. An argument is never changed; what a function returns shares what it left alone with its argument.

Begin with `pipeline.wrap_pipeline` and `wrap.task`, then `pipeline.lineage`. The custom task is in
`controlplane.launch_run` and `controlplane.customrun_reconcile`. For lookups begin with `lookup.lookup` and
`lookup.lookup_request`. Runs with a Pipeline of their own are in `frontends.annotated`; `requests.embedded` is what
travels to the resolver.
"""
