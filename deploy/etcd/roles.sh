#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
# Users and roles of etcd for a fleet, each with the least rights that its work needs.
#
#   roles.sh root                     the administrator, whom etcd asks for before all others
#   roles.sh node NODE...             user node-NODE for each: its own presence and reports; reads intent
#   roles.sh coordinator              user coordinator: leads roll-outs of all models
#   roles.sh ci MODEL...              user ci: promotes and rolls out these models, and no other
#   roles.sh operator NAME...         user operator-NAME for each: all of /models/; reads the fleet
#   roles.sh forget NODE...           nodes that are gone for good: users, roles, presence, reports
#   roles.sh enable                   from now on nobody gets in without a user
#
# It can be run again at any time: what exists stays, rights are added. etcd is reached as etcdctl is told to, by
# ETCDCTL_ENDPOINTS, ETCDCTL_CACERT and so on. Passwords lie in the folder PASSWORDS (etcd-passwords by default), a file
# for each user; where there is none, one is made up. Give each machine its own file and nothing else of that folder.
# With NO_PASSWORDS=1 users get none: etcd knows them by the common name of their certificate then.
set -eu
umask 077
export ETCDCTL_API=3
PASSWORDS=${PASSWORDS:-etcd-passwords}

fail() {
    echo "roles.sh: $*" >&2
    exit 2
}

log_in() { # as the administrator, where etcd wants that and we weren't told how
    etcdctl user list >/dev/null 2>&1 && return
    [ -e "$PASSWORDS/root" ] && [ -z "${ETCDCTL_USER:-}" ] || return 0
    ETCDCTL_USER=root ETCDCTL_PASSWORD=$(cat "$PASSWORDS/root")
    export ETCDCTL_USER ETCDCTL_PASSWORD
}

is_listed() { # KIND NAME: whether there is a user, or a role, of that name
    etcdctl "$1" list | grep -qxF -- "$2"
}

user() { # NAME ROLE: a user with that role
    if ! is_listed user "$1"; then
        if [ -n "${NO_PASSWORDS:-}" ]; then
            etcdctl user add "$1" --no-password
        else
            [ -e "$PASSWORDS/$1" ] || new_password >"$PASSWORDS/$1"
            etcdctl user add "$1" --interactive=false <"$PASSWORDS/$1"
        fi
    fi
    etcdctl user grant-role "$1" "$2"
}

new_password() {
    head -c 32 /dev/urandom | od -An -vtx1 | tr -d ' \n'
    echo
}

role() { # NAME: a role of that name
    is_listed role "$1" || etcdctl role add "$1"
}

key() { # ROLE read|readwrite KEY: the right to one key
    etcdctl role grant-permission "$1" "$2" "$3" >/dev/null
}

below() { # ROLE read|readwrite PREFIX: the right to all keys that begin so
    etcdctl role grant-permission --prefix=true "$1" "$2" "$3" >/dev/null
}

checked() { # NAME: of a node, model or person
    case $1 in
    '' | [!A-Za-z0-9]* | *[!A-Za-z0-9._-]* | *..*)
        fail "'$1' is no name: use letters, digits, '.', '_' and '-', beginning with a letter or digit" ;;
    esac
}

reads_fleet() { # ROLE: who is there, what the nodes say, who leads
    below "$1" read /edgeagent/nodes/
    below "$1" read /edgeagent/reports/
    key "$1" read /edgeagent/coordinator
}

each_node() {
    role "node-$1"
    below "node-$1" read /models/
    key "node-$1" read /edgeagent/coordinator
    key "node-$1" readwrite "/edgeagent/nodes/$1"
    below "node-$1" readwrite "/edgeagent/reports/$1/"
    user "node-$1" "node-$1"
}

add_coordinator() {
    role coordinator
    reads_fleet coordinator
    key coordinator readwrite /edgeagent/coordinator
    below coordinator readwrite /models/
    user coordinator coordinator
}

each_ci() { # MODEL
    role ci
    reads_fleet ci
    below ci read "/models/$1/"
    key ci readwrite "/models/$1/current"
    key ci readwrite "/models/$1/rollout"
    below ci readwrite "/models/$1/rollouts/"
    user ci ci
}

each_operator() {
    role operator
    reads_fleet operator
    below operator readwrite /models/
    user "operator-$1" operator
}

each_forget() {
    if is_listed user "node-$1"; then etcdctl user delete "node-$1"; fi
    if is_listed role "node-$1"; then etcdctl role delete "node-$1"; fi
    etcdctl del "/edgeagent/nodes/$1" >/dev/null
    etcdctl del --prefix "/edgeagent/reports/$1/" >/dev/null
    rm -f "$PASSWORDS/node-$1"
}

[ -n "${NO_PASSWORDS:-}" ] || mkdir -p "$PASSWORDS"
what=${1:-}
[ $# -eq 0 ] || shift
case $what in
root | coordinator | enable) [ $# -eq 0 ] || fail "$what takes no names" ;;
node | ci | operator | forget)
    [ $# -gt 0 ] || fail "$what: of what name?"
    for name in "$@"; do checked "$name"; done ;;
*) fail "use: roles.sh root | node NODE... | coordinator | ci MODEL... | operator NAME... | forget NODE... | enable" ;;
esac
log_in
case $what in
root)
    role root
    user root root ;;
coordinator) add_coordinator ;;
enable) etcdctl auth enable ;;
*) for name in "$@"; do "each_$what" "$name"; done ;;
esac
