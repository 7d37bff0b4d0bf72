"""An exported model behind OpenAI's embeddings API: one ASGI application, here and on Modal.

`served` loads the export, `batching` encodes what arrives together, `requests` reads and answers, `app` joins them and
`server` listens on this machine. Nothing is re-exported: importing the package loads no library.
"""
