"""A small user-management service, written to be read: FastAPI, SQLAlchemy and offpath in one database.

Read in this order:

    decisions.py   what follows from a change: pure functions, no offpath, no database
    database.py    SQLite or PostgreSQL, and what differs between them
    tasks.py       the jobs: what is done off the request's path, with which retries, on which queue
    routes/        the requests: what is committed together with what
    file_jobs.py   the same for uploaded files: one that computes, in a process, and one that tidies up
    app.py         how it is put together

and then, for the outside of it: serve.py and worker.py (the processes), demo/ (the whole story, told as it happens).
"""
