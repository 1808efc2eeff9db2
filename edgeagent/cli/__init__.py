# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an operator or a pipeline types."""
