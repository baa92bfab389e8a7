# Shared by the checks that run a real server: sourced, not run.

# Waits until the command given succeeds, at most 30 seconds; fails when it never does.
await() {
    local deadline=$((SECONDS + 30))
    until "$@"; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            echo "waited 30 s without success for: $*"
            return 1
        fi
        sleep 0.05
    done
}

# The address that a server has printed into the file $1; fails until it is there.
address_in() {
    grep -oE '127\.0\.0\.1:[1-9][0-9]*' "$1" | head -n 1 | grep .
}

has_address() {
    address_in "$1" >/dev/null
}

is_ready() {
    curl -fsS -o /dev/null "$1/readyz" 2>/dev/null
}

# Starts the program $1 on the folder $2/data; sets $server to its process id and $url to its address.
start_server() {
    : >"$2/out"
    "$1" start --data-dir "$2/data" --listen 127.0.0.1:0 >"$2/out" 2>"$2/err" &
    server=$!
    if ! await has_address "$2/out"; then
        cat "$2/out" "$2/err"
        return 1
    fi
    url="http://$(address_in "$2/out")"
    await is_ready "$url"
}
