# SPDX-License-Identifier: AGPL-3.0-or-later
"""The rendered packaging line and its models: the product on its embedded default."""
