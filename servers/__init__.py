"""Real servers, started for tests, measurements and the demo. Of the repository; the wheel has none of it.

`postgres` starts a PostgreSQL; `redis`, `rabbitmq`, `kafka` and `sqs` start brokers, each a `server.Server`; `proxy`
stands between a client and any of them.
"""
