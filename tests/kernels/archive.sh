# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=sh
#
# Debian's archive, for `fetch` and `root`: the mirror that this machine's own apt uses, and an apt in a folder of its
# own. A mirror that does not answer costs seconds, not the tests' time.
: "${KERNELS_DIR:=/var/cache/fairlead-kernels}"
DOWNLOAD_LIMIT=${DOWNLOAD_LIMIT:-300}
ARCHIVE_OPTIONS='Acquire::Check-Valid-Until "false";
Acquire::Retries "2";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
Acquire::Languages "none";
APT::Sandbox::User "root";
APT::Install-Recommends "false";'

fail() {
	echo "$(basename "$0"): $1" >&2
	exit 1
}

# Without the last part of its path: http://HOST/debian gives http://HOST.
debian_mirror() {
	[ -z "${DEBIAN_MIRROR:-}" ] || {
		echo "$DEBIAN_MIRROR"
		return
	}
	cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
		sed -nE 's,^(URIs:|deb) .*(https?://[^ ]*)/debian/?( .*)?$,\2,p' | head -n 1 | grep .
}

# own_apt FOLDER SOURCE: apt's commands work there from now on; lists older than a day are read again.
own_apt() {
	apt=$KERNELS_DIR/apt/$1
	mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/etc/preferences.d" "$apt/etc/apt.conf.d"
	touch "$apt/status"
	echo "$2" >"$apt/etc/sources.list"
	cat >"$apt/apt.conf" <<-CONF
	Dir::Etc "$apt/etc";
	Dir::Etc::sourceparts "/dev/null";
	Dir::Etc::trustedparts "/etc/apt/trusted.gpg.d";
	Dir::State::lists "$apt/lists";
	Dir::State::status "$apt/status";
	Dir::Cache "$apt/cache";
	APT::Architecture "$(echo "$1" | sed 's/.*-//')";
	APT::Architectures "";
	$ARCHIVE_OPTIONS
	CONF
	export APT_CONFIG="$apt/apt.conf"
	[ "$(find "$apt/lists" -name '*_Packages' -mtime -1 2>/dev/null)" ] ||
		timeout "$DOWNLOAD_LIMIT" apt-get update -qq -o APT::Update::Error-Mode=any
}
