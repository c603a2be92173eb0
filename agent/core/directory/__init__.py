"""A directory beside what is remembered of it: what a push changed, what a pull must do, what to remember then.

All of it reads sorted rows side by side; nothing touches the disk.
"""
