#!/bin/sh
# Run by `nllb vip follow` with `up` or `down`: announces the VIP by FRR, or no longer. It fails while FRR does not answer,
# and is then run again.
set -eu
: "${VIP:=10.0.0.100/32}" "${AS:=65010}"
case "${1:-}" in
  up) no= ;;
  down) no="no " ;;
  *) echo "usage: $0 up|down" >&2; exit 2 ;;
esac
exec vtysh ${VTY_DIR:+--vty_socket "$VTY_DIR"} -c "configure terminal" -c "router bgp $AS" -c "address-family ipv4 unicast" \
  -c "${no}network $VIP"
