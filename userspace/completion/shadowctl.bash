# bash completion for shadowctl(8)
#
# All words come from the binary (shadowctl --words), names of volumes and
# copies from shadowctl list and status.

_shadowctl_names()
{
	local key=$1

	shadowctl -q -o json "${@:2}" 2>/dev/null |
		sed -n "s/^ *\"$key\": *\"\([^\"\\\\]*\)\",\{0,1\}\$/\1/p"
}

_shadowctl()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	local words options command='' i

	COMPREPLY=()
	# --size=1 is three words
	if [[ $cur == = ]]; then
		cur=
	elif [[ $prev == = ]]; then
		prev=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	words=$(shadowctl --words 2>/dev/null) || return
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		-o | --output-format) ((i++)) ;;
		-*) ;;
		*)
			command=${COMP_WORDS[i]}
			if ((i + 1 < COMP_CWORD)) &&
				grep -q "^$command ${COMP_WORDS[i + 1]}"$'\t' <<<"$words"; then
				command+=" ${COMP_WORDS[i + 1]}"
			fi
			break
			;;
		esac
	done
	options=$(awk -F '\t' -v c="${command:--}" '$1 == c || $1 == "-" { print $2 }' <<<"$words")
	case $prev in
	-o | --output-format)
		mapfile -t COMPREPLY < <(compgen -W 'text json' -- "$cur")
		return
		;;
	--when-full)
		mapfile -t COMPREPLY < <(compgen -W 'drop-oldest invalidate block:' -- "$cur")
		return
		;;
	--complete | --origin)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		compopt -o filenames
		return
		;;
	--*)	# another value, of which nothing is known
		[[ " ${options//$'\n'/ } " != *" $prev= "* ]] || return 0
		;;
	esac
	if [[ $cur == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
		[[ ${#COMPREPLY[@]} -ne 1 || ${COMPREPLY[0]} != *= ]] || compopt -o nospace
	elif [[ -z $command ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$(awk -F '[ \t]' '$1 != "-" { print $1 }' \
			<<<"$words")" -- "$cur")
	else
		case $command in
		show | mount | unmount | delete | rename | lock | unlock)
			mapfile -t COMPREPLY < <(compgen -W "$(_shadowctl_names copy list)" -- "$cur")
			;;
		merge)	# of a volume --status and --skip-damaged
			mapfile -t COMPREPLY < <(compgen -W "$(_shadowctl_names copy list
				_shadowctl_names volume status)" -- "$cur")
			;;
		storage)
			mapfile -t COMPREPLY < <(compgen -W "$(awk -F '[ \t]' \
				'$1 == "storage" { print $2 }' <<<"$words")" -- "$cur")
			;;
		attach | activate | format | check | dump)
			mapfile -t COMPREPLY < <(compgen -f -- "$cur")
			compopt -o filenames
			;;
		*)
			mapfile -t COMPREPLY < <(compgen -W "$(_shadowctl_names volume status)" -- "$cur")
			;;
		esac
	fi
}
# NAME@ID is one word
COMP_WORDBREAKS=${COMP_WORDBREAKS//@/}
complete -F _shadowctl shadowctl
