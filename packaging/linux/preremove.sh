#!/bin/sh
# Before removing, not before upgrading: the service and the backups' timer end.
set -e
case "$1" in
  remove | 0) ;;
  *) exit 0 ;;
esac
[ -d /run/systemd/system ] || exit 0
systemctl disable --now watchtower-backup.timer watchtower.service
