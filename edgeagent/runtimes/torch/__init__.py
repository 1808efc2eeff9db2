# SPDX-License-Identifier: AGPL-3.0-or-later
"""PyTorch and TorchScript: runtimes, file formats, export."""
