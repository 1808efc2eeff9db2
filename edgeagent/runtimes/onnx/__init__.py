# SPDX-License-Identifier: AGPL-3.0-or-later
"""ONNX Runtime, and what is made of ONNX files."""
