# Sourced by the other two: which program runs, and how what it started is ended.
torchlean=${TORCHLEAN:-$here/../.venv/bin/torchlean} # a command line, split into words
session=${TMPDIR:-/tmp}/torchlean-vnncomp-$(id -u).session # the process that leads the running instance's session

# End every process of the session that the file names, if it is still torchlean's.
end_session() {
    [ -f "$session" ] || return 0
    local leader
    leader=$(cat -- "$session")
    case $leader in
        "" | *[!0-9]*) ;;
        *)
            if tr '\0' ' ' < "/proc/$leader/cmdline" 2> /dev/null | grep -q "torchlean"; then
                pkill -KILL -s "$leader" 2> /dev/null || kill -KILL -- "-$leader" 2> /dev/null || true
            fi
            ;;
    esac
    rm -f -- "$session"
}
