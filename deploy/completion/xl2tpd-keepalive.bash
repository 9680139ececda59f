# bash completion of xl2tpd-keepalive

_xl2tpd_keepalive() {
	local word=${COMP_WORDS[COMP_CWORD]} flags=
	COMPREPLY=()
	if ((COMP_CWORD == 1)); then
		COMPREPLY=($(compgen -W 'run check-config status ping doctor remove-table control version help' -- "$word"))
		return
	fi
	case ${COMP_WORDS[COMP_CWORD - 1]} in
	-config | -xl2tpd-config)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return
		;;
	-M)
		COMPREPLY=($(compgen -W do -- "$word"))
		return
		;;
	esac
	case ${COMP_WORDS[1]} in
	run) flags='-config -xl2tpd-config -debug' ;;
	check-config) flags='-config -xl2tpd-config' ;;
	status) flags='-json -short -watch' ;;
	ping) flags='-c -i -s -M -json' ;;
	doctor) flags='-json' ;;
	esac
	[[ $word == --* ]] && flags=${flags//-/--} flags=${flags//xl2tpd--config/xl2tpd-config}
	COMPREPLY=($(compgen -W "$flags" -- "$word"))
	if [[ ${COMP_WORDS[1]} == check-config && $word != -* ]]; then
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
	fi
} && complete -F _xl2tpd_keepalive xl2tpd-keepalive
