"""`spec.lookup`: a run that names its objects in a bundle (TEP-0018)."""
