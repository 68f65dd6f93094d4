"""The pure core: values in, values out. No I/O, no clock, no randomness; `now` and `u` are arguments.

Five values flow one way: Call → Job → Outcome → Change → Event. `lifecycle.py` is where states change; read it first.
"""
