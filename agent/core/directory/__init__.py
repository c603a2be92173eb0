"""A directory and its state: the changes of a push, the operations of a pull, and the next state.

All of it joins rows in bytes order of paths; nothing touches the disk.
"""
