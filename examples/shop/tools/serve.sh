#!/bin/sh
# Show what would be served. With PORT set, serve it.
set -eu
echo "shop as $(id -un), signed $(cut -c1-12 SIGNATURE)"
for page in *.html; do
  printf '  %-12s %s\n' "$page" "$(sed -n 's|.*<h1>\(.*\)</h1>.*|\1|p' "$page"), $(sed -n 's|.*class=price>\([0-9.]*\)<.*|\1|p' "$page")"
done
[ -z "${PORT:-}" ] || exec httpd -f -p "$PORT" -h /www
