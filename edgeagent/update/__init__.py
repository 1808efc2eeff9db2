# SPDX-License-Identifier: AGPL-3.0-or-later
"""The path of a version: from an intent to the slot, and out of it again."""
