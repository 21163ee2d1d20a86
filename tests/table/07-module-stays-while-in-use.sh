#!/bin/bash
# Proves that the module can't be unloaded while a node exists, can be when none
# does, and comes back.
. "$(dirname "$0")/../shadow.sh"
module=$(basename "${DMS_KO:-dm-shadow.ko}" .ko)
module=${module//-/_}
[ -d "/sys/module/$module" ] || skip "built in"
# What KASAN poisoned around an unloaded module's globals stays poisoned there.
[ "$KERNEL" != uml ] || skip "user-mode Linux can't load a module twice under KASAN"
[ -n "${DMS_KO:-}" ] || skip "don't know the module's file"
devices 8 16
activate
take
show "$ID"
refuses rmmod "$module" 2>/dev/null
hide "$ID"
refuses rmmod "$module" 2>/dev/null
deactivate
retry rmmod "$module"
insmod "$DMS_KO"
activate
expect "$ID" "$(ids)" "copies after the module came back"
