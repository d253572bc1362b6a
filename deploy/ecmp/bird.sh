#!/bin/sh
# Run by `nllb vip follow` with `up` or `down`: switches the VIP's routes of BIRD. It fails while BIRD does not answer, and
# is then run again.
set -eu
case "${1:-}" in
  up) verb=enable ;;
  down) verb=disable ;;
  *) echo "usage: $0 up|down" >&2; exit 2 ;;
esac
# BIRD says what it did of each, and its client ends with 0 whatever that is.
said=$(birdc ${BIRD_SOCKET:+-s "$BIRD_SOCKET"} "$verb" '"nllb_vip*"')
case "$said" in
  *nllb_vip*": "*"${verb}d"*) ;;
  *) echo "$said" >&2; exit 1 ;;
esac
