"""Tekton objects in, Tekton objects out: steps for tasks, sources for references, bundles.

Belongs here: pure functions on dicts as YAML or the API server gives them. Never belongs here: I/O, a clock, a client
of Kubernetes. An argument is never changed; what a function returns shares what it left alone with its argument.

Begin with `pipeline.wrap_pipeline` and `task.wrap_task`, then `lineage`. `launch` and `mirror` are the custom task.
For lookups begin with `lookup` and `lookup_request.rewrite_run`. Runs with a Pipeline of their own are `annotated`, and
what travels to the resolver is `embedded`.
"""
