"""One layer, written or read: in one pass, by ranges, or whole; every byte is compared with what was promised."""
