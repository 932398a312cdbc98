"""Digests of files and of the values of tensors, each from one read.

`files` stands on its own, without numpy: hashing can begin before anything else of an audit is even imported.
"""
