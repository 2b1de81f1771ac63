#!/bin/sh
# After removing. Purging, which only deb has, takes the state and the user too.
set -e
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
fi
if [ "$1" = purge ]; then
  rm -rf /var/lib/watchtower /etc/watchtower
  if getent passwd watchtower >/dev/null; then
    userdel watchtower || true # something of it may still run
  fi
fi
