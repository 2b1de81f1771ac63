#!/bin/sh
# After removing. Purging, which only deb has, takes the state and the user too, and leaves backups.
set -e
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
fi
if [ "$1" = purge ]; then
  rm -rf /var/lib/watchtower /etc/watchtower
  if [ -d /var/lib/watchtower-backups ]; then
    echo "backups of watchtower are left, for you to delete: /var/lib/watchtower-backups" >&2
  fi
  if getent passwd watchtower >/dev/null; then
    userdel watchtower || true # something of it may still run
  fi
fi
