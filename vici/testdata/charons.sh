#!/bin/sh
# Two charons on one Debian machine, as root: charons.sh up | peer COMMAND... | down
#
# The client's is strongswan.service in the root namespace. The peer's runs in
# the network namespace "peer" with a /run and a conf.d of its own; "peer"
# executes a command beside it, such as: charons.sh peer swanctl --list-sas
# Afterwards: swanctl --initiate --child l2tp
set -eu
client=192.0.2.1 peer=192.0.2.2
dir=/var/lib/charon-peer pid=/run/charon-peer.pid

# conf LOCAL REMOTE: IKEv1, PSK, L2TP in transport mode, as to a Yamaha router.
# 17 is UDP, also on a system without /etc/protocols.
conf() {
	cat <<END
connections {
	l2tp-peer {
		version = 1
		proposals = aes128-sha1-modp2048
		local_addrs = $1
		remote_addrs = $2
		local {
			auth = psk
			id = $1
		}
		remote {
			auth = psk
			id = $2
		}
		children {
			l2tp {
				mode = transport
				esp_proposals = aes128-sha1
				local_ts = dynamic[17/1701]
				remote_ts = dynamic[17/1701]
			}
		}
	}
}
secrets {
	ike-l2tp {
		secret = "between two ends of a test"
	}
}
END
}

# restart has our charon load its connections, however often within ten seconds.
restart() {
	systemctl reset-failed strongswan.service
	systemctl restart strongswan.service
}

beside() {
	nsenter -t "$(cat $pid)" -m -n "$@"
}

case $1 in
up)
	ip netns add peer
	ip link add peer0 type veth peer name eth0 netns peer
	ip addr add $client/30 dev peer0
	ip link set peer0 up
	ip -n peer addr add $peer/30 dev eth0
	ip -n peer link set eth0 up
	ip -n peer link set lo up

	mkdir -p $dir
	conf $peer $client >$dir/l2tp.conf
	ip netns exec peer unshare -m sh -c \
		"mount --bind $dir /etc/swanctl/conf.d && mount -t tmpfs tmpfs /run && touch /run/own && exec charon-systemd" \
		>$dir/log 2>&1 </dev/null &
	echo $! >$pid
	tries=100
	until beside test -e /run/own -a -S /run/charon.vici; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || { cat $dir/log; exit 1; }
		sleep 0.1
	done
	beside swanctl --load-all --noprompt

	conf $client $peer >/etc/swanctl/conf.d/l2tp.conf
	restart
	;;
peer)
	shift
	beside "$@"
	;;
down)
	if [ -e $pid ]; then
		kill "$(cat $pid)" || true
		rm $pid
	fi
	rm -rf /etc/swanctl/conf.d/l2tp.conf $dir
	ip link del peer0 || true
	ip netns del peer || true
	restart
	;;
*)
	echo "usage: $0 up | peer COMMAND... | down" >&2
	exit 2
	;;
esac
