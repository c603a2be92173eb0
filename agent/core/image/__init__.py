"""A workspace image as a value: layers, records, conflicts, as manifest and config; and several images together."""
