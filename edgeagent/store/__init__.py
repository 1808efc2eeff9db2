# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where weights come from: remote store, local cache, publishing."""
