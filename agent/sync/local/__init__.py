"""One directory and its state: locked, read, written; a pull or a push of it that did not end."""
