"""Steps, plans, and the three that do something with a plan: carry it out, write it, show it."""
