"""The requests, one module for each resource. What is inside one `session.begin()` block stands or falls together."""
