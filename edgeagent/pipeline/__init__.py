# SPDX-License-Identifier: AGPL-3.0-or-later
"""A camera line: capture supervision, sinks."""
