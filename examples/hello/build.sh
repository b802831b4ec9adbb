#!/bin/sh
# Makes out/hello: the script with the time of this build in it.
set -eu
mkdir -p out
sed "s/@BUILT@/$(date -u +%H:%M:%S)/" hello.sh >out/hello.new
chmod +x out/hello.new
mv out/hello.new out/hello
echo "made out/hello, $(wc -c <out/hello) bytes"
