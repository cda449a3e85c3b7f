#!/usr/bin/python3
"""Checks ONNX files with onnx.checker and shape inference: scripts/check_onnx_model.py FILE... (needs python3-onnx)"""
import collections
import sys

import onnx

for path in sys.argv[1:]:
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    counts = collections.Counter(node.op_type for node in model.graph.node)
    print(f"{path}: valid, " + ", ".join(f"{n} {op}" for op, n in sorted(counts.items())))
