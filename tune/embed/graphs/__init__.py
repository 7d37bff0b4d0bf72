"""A SentenceTransformer as ONNX or OpenVINO graphs, fp32 or int8: for exports, and for embedding in int8.

Converted by torch's own exporter: sentence-transformers' backends convert the transformer alone.
"""
