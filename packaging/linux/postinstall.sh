#!/bin/sh
# After installing or upgrading: the user, the rights of the configuration, the service.
# deb calls it with "configure" and the version before, if there was one; rpm with how many
# versions there are: 1 is the first.
set -e

if ! getent passwd watchtower >/dev/null; then
  if command -v systemd-sysusers >/dev/null; then
    systemd-sysusers watchtower.conf
  else
    useradd --system --user-group --home-dir /var/lib/watchtower --shell /usr/sbin/nologin watchtower
  fi
fi
chgrp watchtower /etc/watchtower/watchtower.yaml
chmod 0640 /etc/watchtower/watchtower.yaml

upgrade=no
case "$1" in
  configure) [ -z "$2" ] || upgrade=yes ;;
  1) ;;
  *) upgrade=yes ;;
esac

[ -d /run/systemd/system ] || exit 0
systemctl daemon-reload
if [ "$upgrade" = no ]; then
  if ! systemctl enable --now watchtower.service; then
    echo "watchtower is installed, but did not start; journalctl -u watchtower says:" >&2
    journalctl --quiet --no-pager --unit watchtower.service --output cat --lines 50 | grep '^watchtower: ' | tail -n 1 >&2 || true
    echo "repair it, and then: systemctl restart watchtower" >&2
  fi
elif systemctl is-active --quiet watchtower.service; then
  if runuser -u watchtower -- watchtower config check /etc/watchtower/watchtower.yaml; then # as who runs it
    systemctl restart watchtower.service
  else
    echo "watchtower runs on as the version before: repair its configuration, then: systemctl restart watchtower" >&2
  fi
fi
