# SPDX-License-Identifier: AGPL-3.0-or-later
"""The slot, the router that leases frames to it, and the updater that swaps it."""
