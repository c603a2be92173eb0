"""One layer, written, or read whole or by ranges; every byte is verified against a digest."""
