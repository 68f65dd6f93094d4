"""Real servers, started for tests, measurements and the demo. Of the repository; the wheel has none of it."""
