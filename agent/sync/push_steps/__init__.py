"""A push, step by step: start, scan and diff, upload, publish, head. `agent.sync` has the whole path."""
