#!/bin/sh
# Fetches libchdb, the ClickHouse engine as a library, into a cache folder, checked against pinned checksums.
#
#   scripts/fetch-libchdb.sh [TARGET_DIR]      default: ${ANNALS_CACHE:-$HOME/.cache/annals}
#
# Result: TARGET_DIR/libchdb-VERSION/libchdb.so (566 MB; 178 MB are downloaded, through npm). Running it again does
# nothing; an interrupted run leaves no file that could be taken for the library, and keeps a download that was complete.
# Progress goes to standard error, the library's path to standard output.
set -eu

version=26.7.3-stable.1
say() { printf 'fetch-libchdb: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

target=${1:-${ANNALS_CACHE:-${HOME:?set HOME, ANNALS_CACHE or name a folder}/.cache/annals}}
folder=$target/libchdb-$version
library=$folder/libchdb.so

[ "$(uname -s)" = Linux ] || fail "only Linux is supported; set CLICKHOUSE_URL to use a ClickHouse server instead"
case $(uname -m) in
    x86_64)
        package=@chdb/lib-linux-x64-gnu
        tarball=chdb-lib-linux-x64-gnu-$version.tgz
        integrity=sha512-XP97mMqnc5tZpKQywR8N7cLTsHNiTmHr30pC5mzo3jWmukjKn2IBa60c2B/gWUNcuFjOMjWoorQICCqBVj5wpw==
        sha1=d2905fafd0e0ac0e231cccadd1f0f6d010977297
        bytes=566330096
        ;;
    aarch64 | arm64)
        # Nobody has checked this one yet, so no checksum is pinned: whoever runs it says which one they trust.
        package=@chdb/lib-linux-arm64-gnu
        tarball=chdb-lib-linux-arm64-gnu-$version.tgz
        integrity=${ANNALS_LIBCHDB_INTEGRITY:-}
        sha1=
        bytes=
        [ -n "$integrity" ] || fail "no checksum is pinned for arm64: set ANNALS_LIBCHDB_INTEGRITY=sha512-… (what" \
            "\`npm view $package@$version dist.integrity\` shows, once you trust it), or use CLICKHOUSE_URL"
        ;;
    *) fail "no libchdb for $(uname -m); set CLICKHOUSE_URL to use a ClickHouse server instead" ;;
esac

# The library is moved into place only after it was checked and written whole, so its presence is enough.
present() { [ -f "$library" ] && { [ -z "$bytes" ] || [ "$(wc -c <"$library")" -eq "$bytes" ]; }; }
if present; then
    say "already there: $library"
    printf '%s\n' "$library"
    exit 0
fi

for program in npm tar openssl sha1sum; do
    command -v "$program" >/dev/null 2>&1 || fail "the program '$program' is missing (Debian: apt-get install npm tar" \
        "openssl coreutils); or put libchdb.so of $package@$version at $library"
done

mkdir -p "$folder"
partial=$folder/partial.$$
trap 'rm -rf "$partial"' EXIT
trap 'exit 130' INT TERM

# Two runs at once (parallel tests) must not both download: the second one waits for the first.
if command -v flock >/dev/null 2>&1; then
    exec 9>"$folder/lock"
    flock -n 9 || { say "another run is fetching; waiting for it"; flock 9; }
    if present; then
        printf '%s\n' "$library"
        exit 0
    fi
fi
mkdir -p "$partial"

checked() {
    [ -z "$sha1" ] || [ "$(sha1sum "$1" | cut -d' ' -f1)" = "$sha1" ] || return 1
    [ "sha512-$(openssl dgst -sha512 -binary "$1" | openssl base64 -A)" = "$integrity" ]
}

if [ -f "$folder/$tarball" ] && checked "$folder/$tarball"; then
    say "using the download that is already there: $folder/$tarball"
else
    rm -f "$folder/$tarball"
    free_kib=$(df -Pk "$folder" | awk 'NR == 2 { print $4 }')
    [ "$free_kib" -ge 800000 ] || fail "$folder has $free_kib KiB free; 800000 are needed"
    say "downloading $package@$version (178 MB)"
    attempt=1
    until (cd "$partial" && npm pack --silent "$package@$version" >/dev/null); do
        [ "$attempt" -lt 3 ] || fail "npm could not download $package@$version, three times; run this again later"
        attempt=$((attempt + 1))
        say "the download failed; attempt $attempt of 3"
        sleep 3
    done
    [ -f "$partial/$tarball" ] || fail "npm pack left no $tarball"
    checked "$partial/$tarball" || fail "checksum mismatch of $tarball: it is not the pinned package; nothing was installed"
    mv "$partial/$tarball" "$folder/$tarball"
fi

say "unpacking to $library (566 MB)"
tar -xzf "$folder/$tarball" -C "$partial" package/libchdb.so
[ -z "$bytes" ] || [ "$(wc -c <"$partial/package/libchdb.so")" -eq "$bytes" ] || fail "the unpacked library has a wrong size"
chmod 0755 "$partial/package/libchdb.so"
sync "$partial/package/libchdb.so" 2>/dev/null || true
mv "$partial/package/libchdb.so" "$library"
rm -f "$folder/$tarball"
say "done: $library"
printf '%s\n' "$library"
