# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the node asks of its workers, and what they report and answer, as types: a module for each kind of worker.

They travel as `util.codec` writes them, under their names; each module lists its own in MESSAGES. The messages on the
path of a frame are fixed structs, in `messages`. A worker imports its module before anything else: it must cost little,
so there is one for each kind, and none imports another's without need.
"""
