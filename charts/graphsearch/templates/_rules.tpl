{{/* What the operator may do in the namespaces that it watches, and nothing else: no Secrets, no exec, no pod of its own
making. The tests hold this list against what it must and must not be able to do. */}}
{{- define "graphsearch.rules" -}}
# Deleted once ttlSecondsAfterFinished is over.
- apiGroups: [graphsearch.io]
  resources: [graphsearches]
  verbs: [get, list, watch, patch, delete]
- apiGroups: [graphsearch.io]
  resources: [graphsearches/status]
  verbs: [patch]
- apiGroups: [graphsearch.io]
  resources: [graphtrials]
  verbs: [get, list, watch, create]
- apiGroups: [graphsearch.io]
  resources: [graphtrials/status]
  verbs: [patch]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, delete]
# The facts that a report is built from: made once, and looked at again after a restart between two of them.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, create]
# Why a Job has no pod stands in Events only; others are announced.
- apiGroups: [""]
  resources: [events]
  verbs: [list, create, patch]
{{- end -}}
