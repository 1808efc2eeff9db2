# SPDX-License-Identifier: AGPL-3.0-or-later
"""One check a file: what a candidate must pass before it may serve."""
