"""How long things take, beside tools that do comparable work in the same run. Measures, never asserts."""
