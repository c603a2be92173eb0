"""Pull, push and what reads images: the only place where workspace, store, archive and core meet."""
