"""Translation into web frameworks and libraries, and nothing else: decisions live on the floors below."""
