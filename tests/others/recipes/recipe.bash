# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# What recipes share: sourced as the first thing by each of them; see ../run. A recipe ends with: "$@"
set -euo pipefail

# lacking COMMAND|MODULE.py|FILE...: names the first that is not here.
lacking() {
    local need
    for need in "$@"; do
        case "$need" in
        /*) [[ -e $need ]] ;;
        *.py) /usr/bin/python3 -c "import ${need%.py}" 2>/dev/null ;;
        *) command -v "$need" >/dev/null ;;
        esac || { printf '%s is not installed\n' "$need"; return; }
    done
}

# once NAME COMMAND...: runs a step of `prepare` that need not be done again when it succeeded.
once() {
    [[ -e ".done-$1" ]] && return
    ("${@:2}") # in a shell of its own, as it may go to another folder
    touch ".done-$1"
}

# fetch PACKAGE: unpacks its source here, as ./source. The lists and settings of the system are left as they are; a
# version that has gone from the archive gives way to the one before.
fetch() {
    local package=$1 version list
    mkdir -p apt/lists/partial apt/cache/archives/partial
    if [[ -e /etc/apt/sources.list.d/debian.sources ]]; then
        list=apt/list.sources
        sed 's/^Types: .*/Types: deb-src/' /etc/apt/sources.list.d/debian.sources >"$list"
    else
        list=apt/list.list
        sed 's/^deb /deb-src /' /etc/apt/sources.list >"$list"
    fi
    local options=(-qq -o "Dir::Etc::sourcelist=$PWD/$list" -o Dir::Etc::sourceparts=-
        -o "Dir::State::lists=$PWD/apt/lists" -o "Dir::Cache=$PWD/apt/cache" -o Acquire::Retries=3)
    apt-get "${options[@]}" update
    for version in $(apt-cache "${options[@]}" showsrc --only-source "$package" | sed -n 's/^Version: //p' | sort -rVu); do
        rm -rf source
        if apt-get "${options[@]}" source --only-source "$package=$version"; then
            mv -T "$(find . -maxdepth 1 -type d -name "$package-*")" source
            return
        fi
    done
    return 1
}

# under COMMAND...: runs what is tested, preloaded or plain as the runner asked.
under() {
    # shellcheck disable=SC2086 # words on purpose
    env $PRELOAD "$@"
}

# outcome STATUS NAME: one line about a case that is a program of its own.
outcome() {
    case "$1" in
    0) printf 'pass %s\n' "$2" ;;
    77) printf 'skip %s\n' "$2" ;;
    *) printf 'fail %s\n' "$2" ;;
    esac
}

# junit FILE: the outcomes in a report in JUnit's form.
junit() {
    /usr/bin/python3 - "$1" <<'END'
import sys
import xml.etree.ElementTree as tree
for case in tree.parse(sys.argv[1]).iter('testcase'):
    inner = {child.tag for child in case}
    outcome = 'fail' if inner & {'failure', 'error'} else 'skip' if 'skipped' in inner else 'pass'
    name = '.'.join(filter(None, [case.get('classname'), case.get('name')]))
    print(outcome, name.encode('ascii', 'backslashreplace').decode().replace('\n', ' '))
END
}
