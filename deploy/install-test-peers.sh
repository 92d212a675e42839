#!/usr/bin/env bash
# Installs the programs the tests use as peers, where this is a Debian system and the user is root.
# Elsewhere it says what is missing and ends well: the tests that need a peer skip and name its package.
set -euo pipefail

packages=(dcmtk orthanc orthanc-dicomweb chromium postgresql libpixelmed-java openjdk-17-jre-headless bsh poppler-utils systemd prometheus)
proofs=(storescu Orthanc /usr/share/orthanc/plugins/libOrthancDicomWeb.so chromium pg_ctlcluster /usr/share/java/pixelmed.jar java /usr/share/java/bsh.jar pdftotext systemd-analyze promtool)
missing=()
for i in "${!packages[@]}"; do
    command -v "${proofs[$i]}" >/dev/null 2>&1 || [ -e "${proofs[$i]}" ] || missing+=("${packages[$i]}")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "Not installed here: ${missing[*]} (tests that need them will skip)"
    exit 0
fi

# Services must not start: Orthanc would take ports 4242 and 8042.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    exit 1
fi
echo "Installed for the tests: ${missing[*]}"
