#!/bin/sh
# What the tests talk to beside Python: `tools/servers.sh NAME...` says what is missing, or installs it where that is
# allowed (Debian and Ubuntu, as root). Without etcd, ZooKeeper and mosquitto there is no test run; without a browser,
# Prometheus or nginx their tests are skipped.
set -eu
packages="" missing="" needed=""

# want NAME PACKAGES needed|optional COMMAND_OR_FILE...: all of the last are there, or the packages are to be installed
want() {
  name=$1 bring=$2 kind=$3
  shift 3
  for thing in "$@"; do
    command -v "$thing" >/dev/null || test -e "$thing" || test -x "/usr/sbin/$thing" || {
      packages="$packages $bring" missing="$missing $name"
      if [ "$kind" = needed ]; then needed="$needed $name"; fi
      return 0
    }
  done
}

for name in "$@"; do
  case $name in
    etcd) want etcd "etcd-server etcd-client" needed etcd etcdctl ;;
    # Debian's jars, started without its scripts. Of its dependencies Java is the large one.
    zookeeper) want zookeeper zookeeper needed /usr/share/java/zookeeper.jar /usr/share/java/netty-handler.jar ;;
    mosquitto) want mosquitto mosquitto needed mosquitto ;;
    browser) want browser "chromium fonts-wqy-zenhei" optional chromium ;;
    prometheus) want prometheus prometheus optional prometheus promtool ;;
    nginx) want nginx nginx-light optional nginx ;;
    *) echo "tools/servers.sh knows no $name" >&2; exit 2 ;;
  esac
done
[ -n "$missing" ] || exit 0
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  apt-get -qq update
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $packages >/dev/null
elif [ -n "$needed" ]; then
  echo "missing:$missing; sudo apt install$packages" >&2
  exit 1
else
  echo "missing:$missing; their tests are skipped (sudo apt install$packages)"
fi
