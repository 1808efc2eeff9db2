# SPDX-License-Identifier: AGPL-3.0-or-later
"""Small tools that know nothing of models or frames."""
