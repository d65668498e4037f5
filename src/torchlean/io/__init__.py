"""Files in and out: ONNX, VNN-LIB, safetensors, and the reading and writing of whole files."""
