#!/bin/bash
# Proves that a wrong command line is refused with exit status 1 and a reason
# before anything is done, and that help, man page, completion and program
# agree.
# timeout: 400
# slow
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/cli.sh"

wrong()
{
	exits 1 shadowctl "$@"
}

wrong
wrong nonsense
wrong --nonsense list
wrong list --nonsense
wrong list one two
wrong lis
wrong -o
wrong -o xml list
wrong --output-format=xml list
wrong show
wrong show one two
wrong attach one
wrong attach one two three
wrong attach one two --chunk
wrong attach one two --chunk-size
wrong attach one two --chunk-size=
wrong attach one two --chunk-size 0
wrong attach one two --chunk-size -4096
wrong attach one two --chunk-size 5000
wrong attach one two --chunk-size 2K
wrong attach one two --chunk-size 2M
wrong attach one two --chunk-size 4Kx
wrong attach one two --chunk-size 99999999999999999999
wrong attach one two --chunk-size 4K --chunk-size 4K
wrong attach one two --force=yes
wrong attach one two --name ''
wrong attach one two --name ../x
wrong attach one two --name 'a b'
wrong attach one two --name -x
wrong attach one two --name "$(printf 'n%.0s' {1..70})"
wrong create
wrong create one --lock-until yesterday
wrong create one --lock-until 1999-01-01
wrong create one --lock-until +1y
wrong create one --lock-until +-1d
wrong create one two --complete target
wrong create one --force
wrong create one --complete target --lock-until +1d
wrong delete
wrong delete --oldest --all one
wrong activate one --all
wrong deactivate
wrong deactivate one --all
wrong lock one
wrong lock one @
wrong lock one @-5
wrong lock one @253402300800
wrong lock one @1764000000000000000
wrong lock one +2147483647w
wrong merge --status --force one
wrong scrub
wrong scrub one two
wrong scrub one --rate
wrong scrub one --rate fast
wrong scrub one --rate 512
wrong scrub one --rate -1K
wrong scrub one --rate 5T
wrong scrub one --status --stop
wrong scrub one --status --no-wait
wrong scrub one --stop --rate 1M
wrong storage limit one
wrong storage policy one
wrong storage policy one --when-full block
wrong storage policy one --when-full block:
wrong storage policy one --when-full block:0
wrong storage policy one --when-full block:-1
wrong storage policy one --when-full block:86401
wrong format one --origin two --when-full block:0
wrong format one --origin two --when-full block:86401
wrong storage policy one --when-full never
wrong storage policy one --low-space 101
wrong storage policy one --low-space many
wrong storage resize one 10X
wrong storage list one two
wrong storage nonsense
wrong check one --force
wrong check one --repair=yes

shadowctl --help | grep -q '^  create VOLUME'
shadowctl create --help | grep -q -- '--lock-until TIME'
shadowctl storage policy --help | grep -q -- '--when-full POLICY'
shadowctl --version | grep -q '^shadowctl '
exits 0 shadowctl list
exits 0 shadowctl -o json status
expect '{"version":1,"copies":[]}' "$(shadowctl -o json list | tr -d ' \n')" "JSON of nothing"
expect "" "$(shadowctl list)" "table of nothing"

"$TOP/userspace/check-usage" shadowctl "$TOP/Documentation/shadowctl.8.rst"

# complete WORD...: what the shell offers for the last word
complete() { :; }
. "$TOP/userspace/completion/shadowctl.bash"
unset -f complete
compopt()
{
	echo "$*" >compopt
}

offers()
{
	COMP_WORDS=(shadowctl "$@") COMP_CWORD=$#
	: >compopt
	_shadowctl
	echo "${COMPREPLY[*]} [$(<compopt)]"
}

mkdir c
touch c/target c/tree
expect 'create []' "$(offers cr)" "commands"
expect '--complete= [-o nospace]' "$(offers create --com)" "an option with a value"
expect '--no-exempt []' "$(offers create --no-e)" "an option without"
expect 'c/target [-o filenames]' "$(offers create --complete c/ta)" "a file"
expect 'c/target [-o filenames]' "$(offers create --complete = c/ta)" "a file behind ="
expect 'c/tree [-o filenames]' "$(offers format --origin c/tr)" "another file"
expect ' []' "$(offers create --name '')" "a text"
expect 'text json []' "$(offers -o = '')" "a word behind ="
