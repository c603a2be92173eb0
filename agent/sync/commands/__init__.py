"""One module for each other command: status, log and the like, squash, prune, doctor, watch, bundles.

A command opens the directory, reads the target, decides, writes, and writes the state. It calls the packages below it.
"""
