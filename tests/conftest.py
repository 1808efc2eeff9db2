# SPDX-License-Identifier: AGPL-3.0-or-later
"""What holds for every test."""

import os

# etcd3's generated code needs the pure-Python protobuf (see edgeagent/intent/etcd.py). Here other tests import
# protobuf first, through onnx; in the node nothing does.
os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
