"""A pull, step by step: goal, merge, plan, apply. `agent.sync` has the whole path."""
