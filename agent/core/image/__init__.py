"""A workspace image as a value: its layers, records and conflicts, its manifest and config; and sets of images."""
