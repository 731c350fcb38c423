#!/usr/bin/env bash
# Breaks a real mesh on purpose and prints what happened: sixteen nodes in three sectors,
# as containers or as processes in network namespaces, whichever can be made here.
#
#   scripts/chaos.sh drill [--short]       every fault in turn, while memory is written everywhere;
#                                          exit 0 only if all rows pass and no write is lost
#   scripts/chaos.sh kill --target lead    one fault
#   scripts/chaos.sh --help                the verbs and options
#
# Needs root. Progress is on stderr, the table on stdout. The binary for namespaces is
# $CHORUS, or what cargo has built; the image is scripts/image.sh's.
set -euo pipefail
scripts=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=scripts/needs.sh
. "$scripts/needs.sh"

need_packages python3
case " $* " in
*" --help "* | *" -h "* | *" --list "*) ;;
*)
    if [ "$(id -u)" = 0 ]; then
        need_packages iproute2 nftables
        case " $* " in
        *" --world namespaces "* | *" --world=namespaces "*) ;;
        *)
            # In a shell of its own: no engine is no reason to end here.
            CHAOS_DOCKER=$( (docker_client) 2>/dev/null || true)
            export CHAOS_DOCKER
            [ -z "$CHAOS_DOCKER" ] || "$CHAOS_DOCKER" compose version >/dev/null 2>&1 ||
                need_packages docker-compose
            ;;
        esac
    fi
    ;;
esac
PYTHONPATH=$scripts exec python3 -B -m chaos "$@"
