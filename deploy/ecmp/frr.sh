#!/bin/sh
# Run by `nllb vip follow` with `up` or `down`: announces the VIP by FRR, or no longer. It fails while FRR does not answer,
# and is then run again. VIPS are written as FRR shows them.
set -eu
: "${VIPS:=10.0.0.100/32 fd00::100/128}" "${AS:=65010}"
case "${1:-}" in
  up) no= ;;
  down) no="no " ;;
  *) echo "usage: $0 up|down" >&2; exit 2 ;;
esac
bgp() {
  vtysh ${VTY_DIR:+--vty_socket "$VTY_DIR"} -d bgpd "$@"
}
change() {
  set --
  for vip in $vips; do
    case "$vip" in
      *:*) family=ipv6 ;;
      *) family=ipv4 ;;
    esac
    set -- "$@" -c "address-family $family unicast" -c "${no}network $vip" -c "exit-address-family"
  done
  [ $# -eq 0 ] || bgp -c "configure terminal" -c "router bgp $AS" "$@"
}
vips=$VIPS
# Without a look before, which takes as long as this.
if change >/dev/null 2>&1; then exit; fi
# To take away what is not there fails.
shown=$(bgp -c "show running-config")
if [ "$1" = down ]; then
  vips=
  for vip in $VIPS; do
    case "$shown" in
      *"network $vip"*) vips="$vips $vip" ;;
    esac
  done
fi
change
