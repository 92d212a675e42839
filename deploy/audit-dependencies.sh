#!/usr/bin/env bash
# Known vulnerabilities in the pinned dependencies, by pip-audit in an environment of its own (first argument).
# Exit 0: none known. 1: some, listed. 3: not all were checked, because the tool or its database cannot be reached:
# without --strict it would call a package that it cannot look up a sound one.
set -uo pipefail
cd "$(dirname "$0")/.."
tools=${1:?the folder for the tool\'s environment}
python=${PYTHON:-python3}
version=2.10.1

unreachable() {
  echo "make audit: $1; not everything was checked. Run it where the package index and the database of vulnerabilities answer." >&2
  exit 3
}

[ -x "$tools/bin/python" ] || "$python" -m venv "$tools" || unreachable "no environment can be made in $tools"
"$tools/bin/pip" --disable-pip-version-check --quiet install "pip-audit==$version" ||
  unreachable "pip-audit $version cannot be installed"

report=$("$tools/bin/pip-audit" --requirement deploy/constraints.txt --strict --no-deps --disable-pip --progress-spinner off 2>&1)
status=$?
echo "$report" | grep -v '^Traceback\|^  File\|^    ' || true
case "$report" in
*"No known vulnerabilities found"*) exit 0 ;;
*"Found "*" known vulnerabilit"*) exit 1 ;;
esac
unreachable "the database of vulnerabilities cannot be reached (pip-audit: status $status)"
