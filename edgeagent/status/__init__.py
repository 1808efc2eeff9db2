# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a node says of itself."""
