# bash completion of xl2tpd-keepalive

_xl2tpd_keepalive() {
	local word=${COMP_WORDS[COMP_CWORD]} flags=--help
	local commands='run check-config status check ping trace doctor report remove-table version help'
	COMPREPLY=()
	if ((COMP_CWORD == 1)); then
		COMPREPLY=($(compgen -W "$commands" -- "$word"))
		return
	fi
	case ${COMP_WORDS[COMP_CWORD - 1]} in
	--config | --xl2tpd-config | -config | -xl2tpd-config | -w)
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
	run) flags+=' --config --xl2tpd-config --debug' ;;
	check-config) flags+=' --config --xl2tpd-config' ;;
	status) flags+=' --json --short --watch' ;;
	ping) flags+=' -c -i -s -M --mtu --json' ;;
	trace) flags+=' -c -w --last --kernel --secrets' ;;
	doctor) flags+=' --json --problems' ;;
	report) flags+=' --anonymise' ;;
	help) flags=$commands ;;
	esac
	COMPREPLY=($(compgen -W "$flags" -- "$word"))
	if [[ ${COMP_WORDS[1]} == @(check-config|report) && $word != -* ]]; then
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
	fi
} && complete -F _xl2tpd_keepalive xl2tpd-keepalive
