#!/bin/bash
# Downloads ImageWoof2-320 (328 MB), verifies it and unpacks it into data/imagewoof2-320.
# An interrupted download continues where it stopped. Usage: scripts/get_imagewoof.sh [DIR]   (default: data)
# IMAGEWOOF_URL and IMAGEWOOF_SHA256 name another copy.
set -euo pipefail

url=${IMAGEWOOF_URL:-https://s3.amazonaws.com/fast-ai-imageclas/imagewoof2-320.tgz}
sha256=${IMAGEWOOF_SHA256:-4e4905ed7643120daaf9bf3b2ef7f3a7e8396d9bdaf254a38c6f01f618b4973d}
folder=${1:-$(dirname "$0")/../data}
archive=$folder/imagewoof2-320.tgz
target=$folder/imagewoof2-320

fail() {
    echo "get_imagewoof: $*" >&2
    exit 1
}

matches() {
    [ "$(sha256sum < "$1" | cut -d ' ' -f 1)" = "$sha256" ]
}

if [ -d "$target/train" ] && [ -d "$target/val" ]; then
    echo "get_imagewoof: $target is there already"
    exit 0
fi
mkdir -p "$folder"

if [ -f "$archive" ] && matches "$archive"; then
    echo "get_imagewoof: $archive is complete"
elif [ -f "$archive.part" ] && matches "$archive.part"; then
    echo "get_imagewoof: $archive.part is complete" # servers refuse to continue behind the end
elif command -v curl > /dev/null; then
    curl --fail --location --show-error --retry 5 --continue-at - --output "$archive.part" "$url" ||
        fail "the download of $url stopped; run this again to continue it"
elif command -v wget > /dev/null; then
    wget --continue --tries=5 --output-document="$archive.part" "$url" ||
        fail "the download of $url stopped; run this again to continue it"
else
    fail "neither curl nor wget is installed: apt-get install curl"
fi

if [ -f "$archive.part" ]; then
    if ! matches "$archive.part"; then
        # What is wrong cannot be continued.
        rm -f "$archive.part"
        fail "what $url sent has another SHA-256 than $sha256 and was deleted; run this again, or check the address"
    fi
    mv "$archive.part" "$archive"
fi

# Unpacked beside its place and renamed: a folder that is there is complete.
rm -rf "$target.unpacking"
mkdir "$target.unpacking"
tar -xzf "$archive" -C "$target.unpacking" || fail "cannot unpack $archive"
[ -d "$target.unpacking/imagewoof2-320/train" ] || fail "$archive holds no imagewoof2-320/train"
mv "$target.unpacking/imagewoof2-320" "$target"
rmdir "$target.unpacking"
echo "get_imagewoof: $target holds $(find "$target/train" -type f | wc -l) training and $(find "$target/val" -type f | wc -l) validation images"
