"""Rules beside each other: equal search, same data and networks, one table (``spikeprop compare``).

A comparison is made of *cells* (:mod:`.cells`): one training run, with all that determines it. Each
finished cell is a file of its own, written whole, so that a comparison that was killed, or that
several machines share a folder of, goes on with what is missing.
"""
