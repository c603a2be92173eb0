"""Tar: headers as we write them, and readers for the tars of all tools."""
