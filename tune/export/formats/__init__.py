"""An exported SentenceTransformer as one graph, from tokens to unit vectors: ONNX or OpenVINO, fp32 or int8.

Converted by torch's own exporter: sentence-transformers' backends convert the transformer alone.
"""
