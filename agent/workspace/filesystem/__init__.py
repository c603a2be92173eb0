"""The workspace's directory as the system shows it: descriptors, refusals, clocks, whole files.

Belongs here: what the file system promises. Never belongs here: what a scan, a state or a pull is.
"""
