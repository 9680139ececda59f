# fish completion of xl2tpd-keepalive

complete -c xl2tpd-keepalive -f

complete -c xl2tpd-keepalive -n __fish_use_subcommand -a run -d 'Keep the tunnels up'
complete -c xl2tpd-keepalive -n __fish_use_subcommand -a check-config -d 'Show what is wrong with keepalive.conf'
complete -c xl2tpd-keepalive -n __fish_use_subcommand -a status -d 'Show the tunnels of the running service'
complete -c xl2tpd-keepalive -n __fish_use_subcommand -a check -d 'One line and an exit status for Nagios and others'
complete -c xl2tpd-keepalive -n __fish_use_subcommand -a ping -d 'Show which half of a path is slow'
complete -c xl2tpd-keepalive -n __fish_use_subcommand -a trace -d 'Show the control messages of tunnels'
complete -c xl2tpd-keepalive -n __fish_use_subcommand -a doctor -d 'Look for what closes tunnels'
complete -c xl2tpd-keepalive -n __fish_use_subcommand -a report -d 'Collect what others need to help'
complete -c xl2tpd-keepalive -n __fish_use_subcommand -a remove-table -d 'Take away the nftables table that a stop may leave'
complete -c xl2tpd-keepalive -n __fish_use_subcommand -a version -d 'Print the version'
complete -c xl2tpd-keepalive -n __fish_use_subcommand -a help -d 'Print the commands, or more about one'

complete -c xl2tpd-keepalive -n '__fish_seen_subcommand_from run check-config' -l config -r -F -d 'Read this keepalive.conf'
complete -c xl2tpd-keepalive -n '__fish_seen_subcommand_from run check-config' -l xl2tpd-config -r -F -d 'Read this xl2tpd.conf'
complete -c xl2tpd-keepalive -n '__fish_seen_subcommand_from run' -l debug -d 'Log more'
complete -c xl2tpd-keepalive -n '__fish_seen_subcommand_from status ping doctor' -l json -d 'Print JSON'
complete -c xl2tpd-keepalive -n '__fish_seen_subcommand_from check-config' -F
complete -c xl2tpd-keepalive -n '__fish_seen_subcommand_from status' -l short -d 'One line a tunnel'
complete -c xl2tpd-keepalive -n '__fish_seen_subcommand_from status' -l watch -d 'Go on, each second'
complete -c xl2tpd-keepalive -n '__fish_seen_subcommand_from ping' -o c -x -d 'Stop after so many'
complete -c xl2tpd-keepalive -n '__fish_seen_subcommand_from ping' -o i -x -d 'Send one every so many seconds'
complete -c xl2tpd-keepalive -n '__fish_seen_subcommand_from ping' -o s -x -d 'Send so many bytes of data'
complete -c xl2tpd-keepalive -n '__fish_seen_subcommand_from ping' -o M -x -a do -d 'Do not fragment'
complete -c xl2tpd-keepalive -n '__fish_seen_subcommand_from ping' -l mtu -d 'Find the largest packet that passes'
complete -c xl2tpd-keepalive -n '__fish_seen_subcommand_from trace' -o c -x -d 'Stop after so many messages'
complete -c xl2tpd-keepalive -n '__fish_seen_subcommand_from trace' -o w -r -F -d 'Write pcapng'
complete -c xl2tpd-keepalive -n '__fish_seen_subcommand_from trace' -l last -d 'Show the last messages'
complete -c xl2tpd-keepalive -n '__fish_seen_subcommand_from trace' -l kernel -d 'Ask the kernel'
complete -c xl2tpd-keepalive -n '__fish_seen_subcommand_from trace' -l secrets -d 'Do not blank secrets'
complete -c xl2tpd-keepalive -n '__fish_seen_subcommand_from doctor' -l problems -d 'Only what is wrong'
complete -c xl2tpd-keepalive -n '__fish_seen_subcommand_from report' -l anonymise -d 'Replace names and addresses'
complete -c xl2tpd-keepalive -n '__fish_seen_subcommand_from report' -F
