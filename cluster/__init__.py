"""The same search on Modal: the head, every trial and embedding run as Modal functions.

launch.py is the entry point, settings.py holds every name and number, smoke.py checks a real account, board.py serves
TensorBoard, and serve.py an exported model. This room may import any other; no other imports it.
"""
