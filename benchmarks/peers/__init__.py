"""How each tool is used: one module for each, one class ``Peer`` in it, all of the same shape (``peers.base``).

Every peer is the tool's own recommended way: the model is loaded by an initializer once in each worker, threads are
capped to cores ÷ workers, results come back in input order (``pool-unordered`` shows what giving up the order brings).
"""
