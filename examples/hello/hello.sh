#!/bin/sh
# Says hello once a second, until it is asked to end.
#
# GREETING comes from the app's configuration: change it with
#   waypoint config set GREETING=Bonjour
# and the app is restarted with the new one.

sleeping=
trap 'echo "goodbye after $n greetings"; kill $sleeping 2>/dev/null; exit 0' TERM INT

n=0
while :; do
	n=$((n + 1))
	echo "${GREETING:-hello}, number $n (built @BUILT@, pid $$)"
	sleep 1 &
	sleeping=$!
	wait $sleeping
done
