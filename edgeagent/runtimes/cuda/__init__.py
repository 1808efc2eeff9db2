# SPDX-License-Identifier: AGPL-3.0-or-later
"""A CUDA device by way of torch: choosing one, and running a network on it as a graph. Shared by torch and TensorRT."""
