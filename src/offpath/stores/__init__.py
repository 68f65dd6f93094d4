"""Where truth lives. A store executes verbs and changes; it decides nothing.

To add a database: a folder here with `sql/` (one file per verb, the names of `sqlite/sql`), `migrations/` and a class
that runs `verbs.SqlVerbs` on its connections (`ports.Store`), one line in `app/places.py`, and a branch in
`tests/stores/conftest.py`: whatever passes that suite is a store.
"""
