"""No model: Django sends `post_migrate` only for an application that has this module (see `apps.migrate`)."""
