#!/bin/sh
# Turn every catalog/*.txt ("key: value" lines, then text) into a page. A page whose source did not change comes from
# the cache directory.
set -eu
source=$1 out=$2 cache=/root/.cache/pages
mkdir -p "$out" "$cache"
new=0 kept=0
for file in "$source"/*.txt; do
  name=$(basename "$file" .txt)
  key=$(cat "$0" "$file" | sha256sum | cut -c1-16)
  if [ -e "$cache/$key" ]; then
    kept=$((kept + 1))
  else
    awk -F': ' '
      /^title: / { title = $2; next }
      /^price: / { price = $2; next }
      NF { text = text "<p>" $0 "</p>\n" }
      END {
        printf "<html><head><title>%s</title><link rel=stylesheet href=assets/shop.css></head>\n", title
        printf "<body><h1>%s</h1>\n%s<p class=price>%.2f</p></body></html>\n", title, text, price
      }' "$file" > "$cache/$key.part"
    mv "$cache/$key.part" "$cache/$key"
    new=$((new + 1))
  fi
  cp "$cache/$key" "$out/$name.html"
done
echo "pages: $new compiled, $kept from the cache mount"
