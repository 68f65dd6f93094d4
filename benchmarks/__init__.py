"""Side by side with a named peer, both in one run: `python3 dev.py bench sqlite`."""
