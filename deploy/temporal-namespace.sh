#!/bin/sh
# Makes the namespace, or sets how long it keeps closed workflows.
set -eu

# Without `passthrough` the program asks for a TXT record first, which takes long on a network without a way out.
export TEMPORAL_ADDRESS="passthrough:///$TEMPORAL_ADDRESS"

attempt=0
until temporal operator cluster health; do
  attempt=$((attempt + 1))
  [ "$attempt" -lt 60 ] || exit 1
  sleep 1
done

if temporal operator namespace describe --namespace "$TEMPORAL_NAMESPACE" >/dev/null 2>&1; then
  temporal operator namespace update --namespace "$TEMPORAL_NAMESPACE" --retention "$RETENTION"
else
  temporal operator namespace create --namespace "$TEMPORAL_NAMESPACE" --retention "$RETENTION"
fi
# A new namespace is known everywhere a few seconds later; whoever waits for this script may use it at once.
until temporal workflow list --namespace "$TEMPORAL_NAMESPACE" --limit 1 >/dev/null 2>&1; do
  attempt=$((attempt + 1))
  [ "$attempt" -lt 120 ] || exit 1
  sleep 1
done
