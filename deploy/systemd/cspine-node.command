#!/bin/sh
# Installed as /usr/local/bin/cspine-node: commands beside the node, as its user, with its configuration and data.
set -eu
export CSPINE_NODE_CONFIG="${CSPINE_NODE_CONFIG:-/etc/cspine-node/node.toml}"
export CSPINE_NODE__NODE__DATA_DIR="${CSPINE_NODE__NODE__DATA_DIR:-/var/lib/cspine-node}"
program=/opt/cspine-node/.venv/bin/cspine-node
if [ "$(id -un)" = root ]; then
    exec setpriv --reuid=cspine-node --regid=cspine-node --init-groups -- "$program" "$@"
fi
exec "$program" "$@"
