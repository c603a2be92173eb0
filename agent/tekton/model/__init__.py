"""The words of Tekton objects: fields, names, variables, references, pod templates, events."""
