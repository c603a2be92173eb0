"""The parts of Tekton objects: fields, names, variables, references, pod templates, events."""
