"""The other service: who may sign in, and how. It has a process and a database of its own, and shares with
`examples.accounts` nothing but what travels between them.

Read in this order:

    members.py   the rows: members, the links to their own sign-on, and the ledger of links that are gone
    tasks.py     what the accounts service tells becomes a job, which unlinks in batches
    routes.py    the same for a list of members: 202 and an operation
    app.py       how it is put together

and then serve.py and worker.py, the processes. How to run both services: docs/how-to/two-services.md.
"""
