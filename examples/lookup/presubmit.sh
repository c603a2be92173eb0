#!/bin/sh
# Prints the runs of this directory as they are at this commit: with the Pipelines and Tasks of this commit, which are in
# no namespace, so that they can be created beside production.
#
#   presubmit.sh registry.example.com/team/ci:pr-7 | kubectl create -f -
set -eu
cd "$(dirname "$0")"
bundle=$(agent bundle push "$1" -f tekton)
agent render -f runs --lookup-bundle "$bundle" --rewrite-bundle "registry.example.com/team/ci=$bundle"
