"""Where objects come in as a whole: the admission webhook, annotations, and `agent render`."""
