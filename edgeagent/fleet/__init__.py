# SPDX-License-Identifier: AGPL-3.0-or-later
"""What nodes tell each other through a config store."""
