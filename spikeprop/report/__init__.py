"""``spikeprop report``: what runs did, in one HTML page that needs nothing beside it.

``reading`` takes what a run folder holds, ``behaviour`` runs the trained network on recordings,
``charts`` and ``images`` draw, ``page`` puts it all together.
"""
