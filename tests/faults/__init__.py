"""The campaign of faults: searches are disturbed at random moments, resumed, and compared with undisturbed ones.

`make faults` runs it and writes results/faults.md; ten of its rounds are tests.
"""
