"""One directory and its state: opened, scanned, changed by a plan, remembered."""
