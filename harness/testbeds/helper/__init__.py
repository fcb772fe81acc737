"""What runs on a machine that is reached over SSH: it does what the controller asks, and puts everything back when it is gone.

Sent to the machine as text (ssh_link.py) and run by its Python (3.8 or later): so these modules use the standard library, each
other, and `families.py` and `clocks.py`, which are sent beside them, and nothing else.
"""
