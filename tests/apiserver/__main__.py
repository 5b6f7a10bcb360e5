# SPDX-License-Identifier: BSD-2-Clause
"""The server as a command: see README.md."""

import argparse
import asyncio
import json
import signal
import sys

from .certificates import Certificates
from .control import open_server
from .http import Listener


def arguments():
    parser = argparse.ArgumentParser(prog="apiserver", description="A Kubernetes API server for tests.")
    parser.add_argument("--listen", default="127.0.0.1:8080", metavar="ADDRESS:PORT",
                        help="port 0: any that is free (default: %(default)s)")
    parser.add_argument("--load", nargs="+", default=[], metavar="FILE", help="lists to begin with")
    parser.add_argument("--control", metavar="SOCKET", help="a unix socket to drive it through")
    parser.add_argument("--certificates", metavar="FOLDER",
                        help="speak TLS with the certificates in this folder, made if there are none")
    parser.add_argument("--client-certificates", action="store_true",
                        help="take client certificates of the folder's CA as identities")
    parser.add_argument("--token", action="append", default=[], help="a bearer token that is valid")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="settings",
                        help="a setting, its value as JSON: slice_versions='[\"v1beta1\"]'")
    parser.add_argument("--changes", type=float, metavar="RATE",
                        help="change random endpoints, so many a second, from the start")
    parser.add_argument("--end-with-stdin", action="store_true",
                        help="end when standard input does: with whoever started it")
    return parser.parse_args()


async def run(options):
    certificates = Certificates(options.certificates) if options.certificates else None
    control = open_server(Listener.bind(options.listen), certificates, options.client_certificates)
    control.do_load(options.load)
    control.do_set_tokens(dict.fromkeys(options.token))
    for setting in options.settings:
        name, _, value = setting.partition("=")
        control.do_set({name: json.loads(value)})
    if options.changes:
        control.do_start_changes(options.changes, None, None, 1)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    if options.end_with_stdin:
        asyncio.get_running_loop().add_reader(sys.stdin, ended.set)
    server = await control.serve(options.control) if options.control else None
    if not options.control:
        print("listening on {}:{}".format(*control.do_where()), flush=True)
    await ended.wait()
    if server:
        server.close()


def main():
    try:
        asyncio.run(run(arguments()))
    except (OSError, ValueError, RuntimeError) as error:
        print(f"apiserver: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
